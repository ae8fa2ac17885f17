"""Announcements of ends: all ids are told, and each fits into what Postgres takes."""

from orchestrator import announcement

POSTGRES_BYTES_MAX = 7_999


def test_each_saga_is_told_once_in_payloads_that_postgres_takes() -> None:
    ids = [f"order-{n}" for n in range(3_000)]
    payloads = list(announcement.payloads([*ids, *ids]))
    assert max(len(payload) for payload in payloads) <= POSTGRES_BYTES_MAX
    told = [token for payload in payloads for token in announcement.tokens(payload)]
    assert sorted(told) == sorted({announcement.token(saga_id) for saga_id in ids})


def test_of_nothing_nothing_is_told() -> None:
    assert list(announcement.payloads([])) == []
