"""What the client found, as the API answers it. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from orchestrator.api import installation_models, models
from orchestrator.client.answers import SagaRow, TookOver, VerbRow
from orchestrator.client.facts import BreakerRow, OutboxFacts, Owner, ShardRow, Told, WorkerRow
from orchestrator.client.outlines import Outlined
from orchestrator.story import Operation, Story, desk_of, read_story, waiting_for
from orchestrator.story.ending import problem_text
from orchestrator.story.model import Attempt, Undo

# A story tells apart what the look does not: what was written without waiting has succeeded.
STATES: dict[str, models.OperationState] = {
    "open": "open",
    "succeeded": "succeeded",
    "done": "succeeded",
    "failed": "failed",
    "unknown": "unknown",
    "cancelled": "settled",
}


def saga_of(told: Told) -> models.Saga:
    """The saga with its operations and seams."""
    record = told.record
    wake_us = record.journal[-1].wake_us if record.journal else None
    outline = _outline(record.saga, record.parent_id, story_of(told), wake_us, told.owners)
    return models.Saga(
        **dict(outline),
        input=record.input,
        result=record.result,
        values=record.values,
        left_undone=[*record.left_undone],
    )


def outline_of(one: Outlined) -> models.Outline:
    return _outline(one.saga, one.parent_id, one.story, one.wake_us, one.owners)


def takeover_of(taken: TookOver) -> models.Takeover:
    return models.Takeover(
        worker=taken.worker,
        taken_at=taken.at,
        shards=[one.shard for one in taken.shards],
        takeover_ids=[_takeover_id(one.shard, one.epoch) for one in taken.shards],
        before=[one.before for one in taken.shards],
    )


def desk(told: Told, verbs: Sequence[VerbRow]) -> models.Desk:
    """What stands, what was taken back, what comes next, and what each verb would do."""
    saga, story = told.record.saga, story_of(told)
    found = desk_of(story, saga.status)
    return models.Desk(
        id=saga.id,
        status=saga.status,
        since=told.parked_at,
        phase=found.phase,
        why=saga.error,
        standing=[operation_of(one) for one in found.standing],
        taken_back=[operation_of(one) for one in found.taken_back],
        next=[*found.next],
        verbs=[models.Preview.model_validate(one) for one in found.previews],
        audit=[verb_of(one) for one in verbs],
    )


def trace_of(told: Told) -> models.Trace:
    """Each attempt of each operation and of each undo."""
    attempts = sorted(attempts_of(story_of(told), told.owners), key=lambda one: (one.from_, one.seq, one.number))
    return models.Trace(attempts=attempts)


def story_of(told: Told) -> Story:
    return read_story([row.body for row in told.record.journal])


def operation_of(operation: Operation) -> models.Operation:
    undo = operation.undo
    return models.Operation(
        seq=operation.seq,
        kind=operation.kind,
        name=operation.name,
        state=STATES[operation.state],
        attempts=len(operation.attempts),
        was_unknown=operation.in_doubt or operation.state == "unknown" or _undo_in_doubt(operation),
        undo=None
        if undo is None
        else models.Undo(
            state=undo.state,
            attempts=len(undo.attempts),
            error=(undo.attempts[-1].text or None) if undo.attempts and undo.state != "undone" else None,
        ),
        child_id=operation.id if operation.kind == "child" else None,
    )


def _undo_in_doubt(operation: Operation) -> bool:
    """It was taken back without anybody knowing whether it had happened."""
    return operation.undo is not None and operation.undo.known == "unknown"


def verb_of(row: VerbRow) -> models.GivenVerb:
    return models.GivenVerb.model_validate(row)


def outbox_of(facts: OutboxFacts, dead_max: int) -> installation_models.Outbox:
    """One dead row more than `dead_max` was asked for, to know whether there are more."""
    dead = facts.dead[:dead_max]
    return installation_models.Outbox(
        waiting=sum(one.count for one in facts.pending),
        oldest_age_s=max((one.age_s for one in facts.pending), default=None),
        partitions=[installation_models.Pending.model_validate(one) for one in facts.pending],
        dead=facts.dead_count,
        dead_rows=[installation_models.DeadRow.model_validate(one) for one in dead],
        next_after=dead[-1].seq if len(facts.dead) > len(dead) else None,
    )


def breaker_of(row: BreakerRow) -> installation_models.Breaker:
    return installation_models.Breaker.model_validate(row)


def worker_of(row: WorkerRow) -> installation_models.Worker:
    return installation_models.Worker.model_validate(row)


def shard_of(row: ShardRow) -> installation_models.Shard:
    return installation_models.Shard.model_validate(row)


def at(us: int) -> datetime:
    """A time of the journal."""
    return datetime.fromtimestamp(us / 1_000_000, UTC)


def _outline(
    saga: SagaRow, parent_id: str | None, story: Story, wake_us: int | None, owners: Sequence[Owner]
) -> models.Outline:
    """`wake_us` 0 is no time: a local step is under way."""
    return models.Outline(
        **dict(models.SagaRow.model_validate(saga)),
        parent_id=parent_id,
        turns=story.turns,
        waiting_for=[] if saga.ended_at else [*waiting_for(story)],
        undone_because=None if saga.ended_at else story.undone_because or None,
        deadline=at(wake_us) if wake_us and not saga.ended_at else None,
        ops=[operation_of(one) for one in story.operations.values()],
        pivot_seq=story.pivot_seq,
        seams=[_seam(owner, story, saga.shard) for owner in owners if _is_seam(owner, story)],
    )


def _is_seam(owner: Owner, story: Story) -> bool:
    """Whoever had the shard before the saga's first turn took nothing over from it."""
    return story.started_us is not None and owner.at_us >= story.started_us


def _seam(owner: Owner, story: Story, shard: int) -> models.Seam:
    begun = [one.seq for one in story.operations.values() if one.begun_us <= owner.at_us]
    return models.Seam(
        takeover_id=_takeover_id(shard, owner.epoch),
        seq=max(begun, default=None),
        at=at(owner.at_us),
        worker=owner.worker,
        epoch=owner.epoch,
    )


def _takeover_id(shard: int, epoch: int) -> str:
    return f"{shard}-{epoch}"


def attempts_of(story: Story, owners: Sequence[Owner]) -> Iterator[models.Attempt]:
    for operation in story.operations.values():
        if not operation.attempts:
            yield _attempt(operation, _only(operation), None, owners, was_unknown=False)
        for attempt in operation.attempts:
            yield _attempt(operation, attempt, None, owners, was_unknown=_was_unknown(operation, attempt))
        if (undo := operation.undo) is not None:
            for attempt in undo.attempts:
                yield _attempt(operation, attempt, undo, owners, was_unknown=_was_unknown(undo, attempt))


def _was_unknown(tried: Operation | Undo, attempt: Attempt) -> bool:
    """No answer is as good as an unclear one, once another attempt was made or nobody waits any more."""
    went_on = tried.ended_us is not None or attempt is not tried.attempts[-1]
    return attempt.in_doubt or (attempt.ended_us is None and went_on)


def _only(operation: Operation) -> Attempt:
    """A sleep, a receive, what was written: it has no attempts, and one is told."""
    text = problem_text({"type": operation.error_type, "text": operation.error_text})
    outcome = "" if operation.is_open else STATES[operation.state]
    return Attempt(1, operation.begun_us, operation.ended_us, outcome, text)


def _attempt(
    operation: Operation, attempt: Attempt, undo: Undo | None, owners: Sequence[Owner], *, was_unknown: bool
) -> models.Attempt:
    """A transaction's fate is never unknown: it is the answer's."""
    return models.Attempt(
        op=operation.title if undo is None else f"undo of {operation.title}",
        seq=operation.seq,
        undo_of=None if undo is None else operation.seq,
        number=attempt.number,
        from_=at(attempt.begun_us),
        to=None if attempt.ended_us is None else at(attempt.ended_us),
        outcome=attempt.outcome,
        was_unknown=was_unknown and operation.kind != "transaction",
        note=attempt.text,
        worker=next((one.worker for one in reversed(owners) if one.at_us <= attempt.begun_us), None),
    )
