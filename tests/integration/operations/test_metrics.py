"""What the processes show on their port moves by exactly what happened; read by Prometheus' own parser."""

import signal
from collections.abc import Iterator

import pytest

from orchestrator import SyncClient
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import ledger
from tests.integration.engine.test_forged import forge
from tests.integration.engine.test_takeover import all_owned
from tests.integration.operations.watched import APP, Watched, amends
from tests.integration.operations.watched_app import Nudge, beyond, booked, borrowing, declined, nudged
from tests.servers import database_name


@pytest.fixture
def client(system: System) -> Iterator[SyncClient]:
    with SyncClient(system.settings) as made:
        yield made


@pytest.fixture
def orchestrator(system: System) -> Iterator[Watched]:
    """With a relay and the ledger in this process."""
    system.relay()
    system.participants([ledger])
    with amends(system.settings, "orchestrator", f"{APP}:app") as watched:
        watched.until_ready()
        yield watched


def stopped_at(system: System, saga_id: str, status: str) -> None:
    query = "SELECT 1 FROM amends.sagas WHERE id = %s AND status = %s"
    eventually(lambda: system.rows(query, saga_id, status), 60, f"{saga_id} is {status}")


def test_an_orchestrator_counts_what_happened(system: System, client: SyncClient, orchestrator: Watched) -> None:
    for n in range(3):
        client.start(booked, "till", id=f"b{n}")
    client.start(declined, "till", id="d")
    client.start(beyond, "till", id="s")
    client.start(nudged, "anna", id="victim")
    system.ended(["b0", "b1", "b2", "d"])
    stopped_at(system, "s", "stuck")
    stopped_at(system, "victim", "running")
    client.send("b0", Nudge())  # it is over: a dead letter

    orchestrator.until("amends_sagas_ended_total", 3, outcome="completed")
    orchestrator.until("amends_sagas_ended_total", 1, outcome="failed")
    orchestrator.until("amends_sagas_ended_total", 0, outcome="terminated")
    orchestrator.until("amends_sagas_open", 1, status="stuck")
    orchestrator.until("amends_sagas_open", 1, status="at_work")
    orchestrator.until("amends_sagas_open", 0, status="queued")
    orchestrator.until("amends_sagas_open", 0, status="blocked")
    orchestrator.until("amends_dead_letters_total", 1)
    orchestrator.until("amends_shards_held", SHARDS)
    orchestrator.until("amends_takeovers_total", 0)
    for shard in range(SHARDS):
        orchestrator.until("amends_shard_lag_messages", 0, shard=str(shard))
    ((turns,),) = system.rows("SELECT count(*) FROM amends.journal")
    orchestrator.until("amends_turns_total", turns)
    orchestrator.until("amends_sagas_begun_total", 6)
    orchestrator.until("amends_outbox_rows", 0, database=database_name(system.url))
    shown = orchestrator.series()
    batches = shown["amends_batches_total", frozenset()]
    assert 0 < batches == shown["amends_commit_duration_seconds_count", frozenset()]
    assert shown["amends_commit_duration_seconds_bucket", frozenset({("le", "+Inf")})] == batches
    assert shown["amends_commit_duration_seconds_sum", frozenset()] > 0
    assert shown["amends_ready", frozenset()] == 1
    assert shown["process_resident_memory_bytes", frozenset()] > 1e6
    # Each turn is compared with its replay here, but for those that the thread had no time for.
    eventually(
        lambda: _sum(orchestrator, "amends_replays_compared_total", "amends_replays_skipped_total") == turns,
        30,
        "all turns were compared or skipped",
    )
    assert orchestrator.value("amends_replay_mismatches_total") == 0

    client.terminate("victim", note="enough")
    orchestrator.until("amends_sagas_ended_total", 1, outcome="terminated")
    orchestrator.until("amends_sagas_open", 0, status="at_work")


def _sum(watched: Watched, *names: str) -> float:
    shown = watched.series()
    return sum(shown[name, frozenset()] for name in names)


def test_a_forged_answer_raises_its_counter_by_one(system: System, client: SyncClient, orchestrator: Watched) -> None:
    client.start(nudged, "anna", id="victim")
    journal = "SELECT uid, s.shard FROM amends.sagas s JOIN amends.journal USING (saga_no)"
    ((uid, shard),) = eventually(lambda: system.rows(journal), 30, "the first turn in the journal")
    orchestrator.until("amends_forged_messages_total", 0)
    forge(system, str(uid), shard)
    orchestrator.until("amends_forged_messages_total", 1)
    forge(system, str(uid), shard)
    orchestrator.until("amends_forged_messages_total", 2)


def test_who_takes_over_from_a_killed_orchestrator_counts_it(system: System, client: SyncClient) -> None:
    system.relay()
    system.participants([ledger])
    with amends(system.settings, "orchestrator", f"{APP}:app") as first:
        first.until_ready()
        with amends(system.settings, "orchestrator", f"{APP}:app") as second:
            eventually(lambda: all_owned(system, by=2), 60, "both orchestrators own shards")
            first.until("amends_handovers_total", SHARDS / 2)  # to the second, which asked
            second.until_ready()
            second.until("amends_shards_held", SHARDS / 2)
            second.until("amends_takeovers_total", 0)
            assert first.process is not None
            first.process.send_signal(signal.SIGKILL)
            second.until("amends_takeovers_total", SHARDS / 2)
            second.until("amends_claims_total", SHARDS)
            second.until("amends_shards_held", SHARDS)
            client.run(booked, "till", id="after", timeout=deadline(30))


def test_a_participant_counts_its_answers_and_shows_its_breaker(system: System, client: SyncClient) -> None:
    system.relay()
    system.orchestrator([booked, declined, borrowing])
    with amends(system.settings, "participant", f"{APP}:app") as participant:
        participant.until_ready()
        client.start(booked, "till", id="b")
        client.start(declined, "till", id="d")
        client.start(borrowing, "up", id="u")
        system.ended(["b", "d", "u"])
        answered = "amends_commands_answered_total"
        participant.until(answered, 1, participant="ledger", result="succeeded")
        participant.until(answered, 1, participant="ledger", result="failed")
        participant.until(answered, 1, participant="pawn", result="succeeded")
        participant.until("amends_calls_ended_total", 1, participant="pawn", outcome="succeeded")
        vault = {"participant": "pawn", "breaker": "vault"}
        participant.until("amends_breaker_state", 1, **vault, state="closed")
        participant.until("amends_breaker_state", 0, **vault, state="open")

        for n in range(2):
            client.start(borrowing, "down", id=f"l{n}")
        participant.until("amends_breaker_state", 1, **vault, state="open")
        participant.until("amends_breaker_state", 0, **vault, state="closed")
        participant.until("amends_calls_ended_total", 2, participant="pawn", outcome="lost")
        participant.until("amends_calls_in_flight", 0, participant="pawn")
        participant.until("amends_inbox_rows_due", 0, participant="pawn")


def test_a_relay_counts_its_rows_and_a_standby_is_ready(system: System, client: SyncClient) -> None:
    database = database_name(system.url)
    with amends(system.settings, "relay") as relay:
        relay.until_ready()
        relay.until("amends_relay_state", 1, database=database, state="streaming")
        for n in range(5):
            client.start(nudged, "anna", id=f"n{n}")
        relay.until("amends_relay_rows_sent_total", 5, database=database)
        relay.until("amends_outbox_rows", 0, database=database)
        relay.until("amends_relay_epoch", 1, database=database)
        with amends(system.settings, "relay") as standby:
            standby.until_ready()
            standby.until("amends_relay_state", 1, database=database, state="waiting")
            standby.until("amends_relay_rows_sent_total", 0, database=database)
            _add_for_a_topic_that_is_not(system)
            relay.until("amends_relay_rows_parked_total", 1, database=database)
            standby.until("amends_outbox_dead_rows", 1, database=database)
            assert relay.process is not None
            relay.process.kill()
            standby.until("amends_relay_state", 1, database=database, state="streaming")
            standby.until("amends_relay_epoch", 2, database=database)
            client.start(nudged, "anna", id="after")
            standby.until("amends_relay_rows_sent_total", 1, database=database)


def _add_for_a_topic_that_is_not(system: System) -> None:
    topic = f"{system.settings.topic_prefix}nowhere"
    system.execute(f"INSERT INTO amends.topics (topic, partitions) VALUES ('{topic}', 1)")
    system.execute(
        "INSERT INTO amends.outbox (aggregatetype, aggregateid, type, payload, partition, kind) "
        f"VALUES ('{topic}', 'k', 'T', '', 0, 'event')"
    )


def test_a_row_that_waits_grows_old(system: System, client: SyncClient) -> None:
    """Nobody sends: the orchestrator of the same database says so."""
    client.start(nudged, "anna", id="waits")
    database = database_name(system.url)
    with amends(system.settings, "orchestrator", f"{APP}:app") as orchestrator:
        orchestrator.until_ready()
        orchestrator.until("amends_outbox_rows", 1, database=database)
        age = "amends_outbox_oldest_age_seconds"
        eventually(lambda: (orchestrator.value(age, database=database) or 0) > 3, 60, "it is more than 3 s old")
