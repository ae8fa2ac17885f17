"""`amends.fence` is SQL, and the model tells it again: here the two judge the same cases, all that a walk meets."""

from uuid import UUID

from orchestrator.engine.fence import Hold
from tests.model import fence as model
from tests.model.explorer import states
from tests.stories.shards import commit, put_back


def test_the_model_and_the_sql_judge_alike(shards):
    machine = model.FenceMachine(frozenset(model.RULES))
    met = {
        (*state.shard[:4], *worker.hold[:4])
        for state in states(machine)
        for worker in state.workers
        if worker.hold is not None and worker.at == "turned"
    }
    assert len(met) > 40
    for epoch, owner, batch_no, next_offset, *held in sorted(met):
        put_back(shards, (0, epoch, uuid(owner), batch_no, next_offset))
        hold = Hold(0, held[0], uuid(held[1]), held[2], held[3], None, 0)
        db = model.Shard(epoch, owner, batch_no, next_offset)
        passes = machine.passes(db, model.Hold(*held, position=0))
        assert (commit(shards, hold, next_offset=held[3] + 1) is None) == passes, (db, held)


def uuid(number: int) -> UUID:
    return UUID(int=number if number >= 0 else 99)
