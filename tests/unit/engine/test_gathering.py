"""What one batch may hold: nobody fills it alone, it is cut by bytes, and the order of each shard is kept."""

import logging
from collections import deque

import pytest

from orchestrator import limits
from orchestrator.core.registry import Registry
from orchestrator.engine.cache import Cache, Resident
from orchestrator.engine.gathering import take_ends
from orchestrator.engine.intake import Arrived, Intake
from orchestrator.engine.sagas import SagaRow
from orchestrator.engine.slow_turns import SlowTurns
from orchestrator.engine.steps import StepEnd
from orchestrator.messaging.envelope import Envelope

SHARE = limits.BATCH_TURNS_PER_SAGA_MAX


def came(offset: int, saga_id: str, *, shard: int = 0, size_bytes: int = 10) -> Arrived:
    envelope = Envelope(
        topic="sagas",
        partition=shard,
        offset=offset,
        timestamp_ms=0,
        key=saga_id,
        id="",
        type="T",
        kind="message",
        payload=bytes(size_bytes),
        saga_id=saga_id,
    )
    return Arrived(1, envelope)


def holding(*arrived: Arrived) -> Intake:
    """An intake that has read these and reads no more."""
    intake = Intake("127.0.0.1:9", "sagas", "test", wake=lambda: None)
    intake._arrived.extend(arrived)
    intake._arrived_bytes = sum(len(one.message.payload or b"") for one in arrived)
    return intake


def offsets(arrived: list[Arrived], shard: int = 0) -> list[int]:
    return [one.message.offset for one in arrived if one.message.partition == shard]


def ended(saga_id: str, seq: int) -> StepEnd:
    return StepEnd(key=(saga_id, seq), saga_no=1, saga_id=saga_id, shard=0, seq=seq, attempt=1)


def test_a_chatty_saga_closes_its_shard_and_no_other() -> None:
    chatty = [came(n, "chatty") for n in range(SHARE + 5)]
    behind = [came(SHARE + 5 + n, "modest") for n in range(3)]
    elsewhere = [came(n, "far", shard=1) for n in range(3)]
    intake = holding(*chatty, *behind, *elsewhere)
    first = intake.take()
    assert offsets(first) == list(range(SHARE))
    assert offsets(first, shard=1) == [0, 1, 2]
    assert offsets(intake.take()) == list(range(SHARE, SHARE + 8))
    assert intake.waiting == 0


def test_a_batch_is_cut_by_bytes_and_holds_one_message_however_large() -> None:
    half = limits.BATCH_BYTES_MAX // 2
    intake = holding(*[came(n, f"s{n}", size_bytes=half) for n in range(3)], came(3, "s3", size_bytes=3 * half))
    assert [offsets(intake.take()) for _ in range(3)] == [[0, 1], [2, 3], []]


def test_large_messages_fill_the_queue_before_many_do() -> None:
    intake = holding(came(0, "s", size_bytes=limits.INBOUND_BYTES_MAX + 1))
    assert intake._filled() > 1
    intake.take()
    assert intake._filled() == 0


def test_a_saga_with_many_steps_at_once_leaves_room_for_others() -> None:
    ends = deque([ended("many", n) for n in range(SHARE + 2)] + [ended("few", 0)])
    first, then = take_ends(ends), take_ends(ends)
    assert [(end.saga_id, end.seq) for end in first] == [("many", n) for n in range(SHARE)] + [("few", 0)]
    assert [end.seq for end in then] == [SHARE, SHARE + 1]


def test_a_slow_turn_is_said_with_saga_and_type_and_not_each_time(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(Registry([]))
    cache.put(Resident(SagaRow(1, "order-7", "uid", "checkout", 1, 0, "running", "0", b""), "running"))
    slow_turns = SlowTurns(cache)
    with caplog.at_level(logging.WARNING):
        slow_turns.took("order-7", limits.TURN_SECONDS_WARN / 2)
        for _ in range(5):
            slow_turns.took("order-7", limits.TURN_SECONDS_WARN * 2)
    (record,) = caplog.records
    assert "saga order-7 (checkout): a turn took 0.100 s" in record.getMessage()
