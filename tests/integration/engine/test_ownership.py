"""A claim: what it takes over for an unclean end, and what it must forget."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from orchestrator.core.registry import Registry
from orchestrator.engine import fence, shards
from orchestrator.engine.cache import Cache, Resident
from orchestrator.engine.installation import connect
from orchestrator.engine.intake import Intake
from orchestrator.engine.outbound import Outbound
from orchestrator.engine.ownership import Ownership
from orchestrator.engine.probing import Probing
from orchestrator.engine.recovery import Recovery
from orchestrator.engine.sagas import SagaRow
from orchestrator.engine.step_starts import StepStarts
from orchestrator.engine.steps import StepRunner
from orchestrator.engine.topology import Topology
from orchestrator.engine.wakeups import Wakeups
from orchestrator.engine.watermarks import Watermarks
from orchestrator.errors import DependencyError
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import patient

SHARD = 1


def ownership(system: System, cache: Cache, topic_id: Callable[[], str]) -> Ownership:
    """All of it, but the thread that reads Kafka is never started."""
    settings = system.settings
    topology = Topology(
        settings.kafka_bootstrap_servers, settings.topic_prefix, lambda: connect(system.url, "amends-topics-test")
    )
    outbound = Outbound(topology.topics, topology.partitions, SHARDS, b"secret", lambda: 0)
    recovery = Recovery(Registry([]), outbound, topology.partitions)
    intake = Intake(settings.kafka_bootstrap_servers, topology.topics.sagas, "test", wake=lambda: None)
    probing, wakeups = Probing(), Wakeups()
    return Ownership(
        uuid4(),
        intake,
        cache,
        wakeups,
        Watermarks(),
        StepStarts(cache, StepRunner({}, lambda _: None), wakeups),
        topic_id,
        lambda _, holds: [probing.claimed(hold) for hold in holds],
        recovery.send_again,
    )


def test_only_somebody_else_s_end_is_unclean(system: System) -> None:
    one, other = uuid4(), uuid4()
    with connect(system.url, "test") as connection:
        [first] = fence.claim(connection, {SHARD: 0}, one)
        [again] = fence.claim(connection, {SHARD: 1}, one)
        [taken] = fence.claim(connection, {SHARD: 2}, other)
        assert (first.unclean, again.unclean, taken.unclean) == (False, False, True)
        fence.release(connection, [taken])
        [given] = fence.claim(connection, {SHARD: 3}, one)
        assert given.unclean is False


def test_a_claim_forgets_what_was_loaded_before_it(system: System) -> None:
    cache = Cache(Registry([]))
    own = ownership(system, cache, lambda: "id")
    row = SagaRow(1, "s", str(uuid4()), "t", 1, SHARD, "running", "0", b"")
    with connect(system.url, "test") as connection:
        cache.put(Resident(row, "running"))
        own._claim(connection, {SHARD: 0})
    assert SHARD in own.holds
    assert cache.get("s") is None


def test_what_is_ours_by_the_table_is_claimed_again_until_it_is_read(system: System) -> None:
    kafka: list[str] = ["id"]

    def topic_id() -> str:
        if not kafka:
            raise DependencyError("no broker answers")
        return kafka[0]

    own = ownership(system, Cache(Registry([])), topic_id)
    with connect(system.url, "test") as connection:
        own._claim(connection, {SHARD: 0})
        kafka.clear()
        own.reclaim_one(connection, SHARD)
        assert own.holds == {}
        kafka.append("id")
        own._claim_own(connection, frozenset(own._unread))
        assert own.holds.keys() == {SHARD}


def test_who_is_next_hears_of_a_planned_stop_and_need_not_look(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    workers_of = "SELECT count(DISTINCT worker) FROM amends.shards WHERE worker IS NOT NULL"
    stop_first = system.orchestrator([patient])
    eventually(lambda: system.rows(workers_of) == [(1,)], 30, "the first owns all")
    system.orchestrator([patient], name="second")
    eventually(lambda: system.rows(workers_of) == [(2,)], 30, "they share")
    monkeypatch.setattr(shards, "LOOK_EVERY_S", deadline(600))
    stop_first()
    owners = "SELECT DISTINCT w.name FROM amends.shards LEFT JOIN amends.workers w USING (worker)"
    eventually(lambda: system.rows(owners) == [("second",)], 20, "the second owns all, long before its next look")
