"""Rule 14, second half. A start beyond the admission limit is kept as `queued`, and begins, the oldest first, when
another saga of its shard ends. Verbs reach it meanwhile; takeovers lose nobody; children are never refused.
"""

from orchestrator import Saga, SyncClient, saga
from orchestrator.core.decisions import StartChild
from orchestrator.engine.admission import Admitted
from orchestrator.engine.batch import Batch
from orchestrator.engine.turns import Start
from outbox_relay.rows import murmur2
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import Go
from tests.rules.inside import SHARD, Inside


@saga
async def waits_for_go(s: Saga, n: int) -> int:
    await s.receive(Go)
    return n


@saga
async def with_a_child(s: Saga, n: int) -> int:
    return await s.run(waits_for_go, n, id="the child")


SAGAS = (waits_for_go, with_a_child)
IN_ONE_SHARD = [id for id in (f"w{n}" for n in range(100)) if murmur2(id.encode()) % SHARDS == 0][:6]


def statuses(system: System) -> dict[str, str]:
    return dict(system.rows("SELECT id, status FROM amends.sagas"))


def are(system: System, **expected: str) -> None:
    names = {f"w{n}": id for n, id in enumerate(IN_ONE_SHARD)}
    wanted = {names[name]: status for name, status in expected.items()}
    eventually(lambda: statuses(system) == wanted, 30, f"{wanted}")


def test_beyond_the_limit_a_start_is_kept_and_nothing_of_it_runs() -> None:
    inside = Inside(*SAGAS, at_work_max=1)
    inside.start(waits_for_go, 0, "first")
    writes = inside.start(waits_for_go, 0, "the next")
    assert ([row.id for row in writes.created], writes.turns, writes.moves) == (["the next"], [], {})


def test_a_child_is_never_refused_its_parent_would_wait_for_ever() -> None:
    inside = Inside(*SAGAS, at_work_max=1)
    inside.start(with_a_child, 0, "parent")
    (child,) = [d for d in inside.live("parent").pending_sends() if isinstance(d, StartChild)]
    (start,) = inside.outbound.rows(inside.resident("parent").row, child)
    row = inside.item(start).came.row
    batch = Batch()
    inside.turns.start(batch, Start(row), [], inside.raw(row.id))
    assert inside.resident("the child").status == "running"


def test_whoever_was_ended_before_there_was_room_does_not_begin() -> None:
    inside = Inside(*SAGAS, at_work_max=1)
    inside.start(waits_for_go, 0, "first")
    inside.start(waits_for_go, 0, "the next")
    resident, batch = inside.resident("the next"), Batch()
    resident.status = "cancelled"
    inside.turns.admitted(batch, Admitted(resident.row.saga_no, "the next", SHARD), [])
    assert batch.shards == {}


def test_the_oldest_begins_when_one_ends_also_after_a_takeover(system: System) -> None:
    w = IN_ONE_SHARD
    system.relay()
    stop = system.orchestrator(SAGAS, sagas_at_work_max=2)
    with SyncClient(system.settings) as client:
        for n, id in enumerate(w):
            client.start(waits_for_go, n, id=id)
        eventually(lambda: not system.rows("SELECT 1 FROM amends.outbox"), 30, "all starts in Kafka")
        are(system, w0="running", w1="running", w2="queued", w3="queued", w4="queued", w5="queued")
        client.send(w[3], Go())  # It has not begun: this waits in the mailbox.
        client.send(w[0], Go())
        are(system, w0="completed", w1="running", w2="running", w3="queued", w4="queued", w5="queued")
        eventually(lambda: system.rows("SELECT 1 FROM amends.mailbox"), 30, "the message is kept")
        stop()
        stop = system.orchestrator(SAGAS, sagas_at_work_max=2)
        client.cancel(w[4])
        client.terminate(w[5], note="not wanted any more")
        are(system, w0="completed", w1="running", w2="running", w3="queued", w4="cancelled", w5="terminated")
        client.send(w[1], Go())
        are(system, w0="completed", w1="completed", w2="running", w3="completed", w4="cancelled", w5="terminated")
        client.send(w[2], Go())
        assert client.result(waits_for_go, w[2], timeout=deadline(30)) == 2
    assert system.rows("SELECT outcome FROM amends.verbs") == [("done",), ("done",)]
    assert system.rows("SELECT count(*)::int FROM amends.journal WHERE saga_no IN (SELECT saga_no FROM amends.sagas "
                       "WHERE status IN ('cancelled', 'terminated'))") == [(0,)]  # fmt: skip


def test_whoever_takes_over_with_room_begins_those_who_found_none(system: System) -> None:
    w = IN_ONE_SHARD[:3]
    system.relay()
    stop = system.orchestrator(SAGAS, sagas_at_work_max=1)
    with SyncClient(system.settings) as client:
        for n, id in enumerate(w):
            client.start(waits_for_go, n, id=id)
        eventually(lambda: not system.rows("SELECT 1 FROM amends.outbox"), 30, "all starts in Kafka")
        are(system, w0="running", w1="queued", w2="queued")
        read_all = "SELECT 1 FROM amends.shards WHERE next_offset = 3"
        eventually(lambda: system.rows(read_all), 30, "all starts are read, so that none comes again")
        # The first claim may have begun the first saga before its start was read; that start is counted here.
        ignored = system.rows("SELECT reason, count FROM amends.ignored")
        stop()
        system.orchestrator(SAGAS, sagas_at_work_max=10)
        are(system, w0="running", w1="running", w2="running")
    assert system.rows("SELECT reason, count FROM amends.ignored") == ignored
