"""From what came in to what is written: each item is fed to its saga as one entry, and the turn goes into the batch.

Pure bookkeeping between the core and the batch: no SQL and no Kafka here. Whatever can't be fed has a place to go:
the mailbox (no saga yet), the held entries (blocked), the dead letters (over, unreadable) or a counter (double, late).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.blocked import Blocked, TurnTooLong
from orchestrator.core.decisions import Decision, Finish, SetStatus, SetValue, StartStep, Turn
from orchestrator.core.entries import Entry, MessageArrived, Replied, Started
from orchestrator.core.registry import Registry
from orchestrator.core.replay import journal_body
from orchestrator.core.turn import Ignored, LiveSaga
from orchestrator.engine import journal, mail, sagas
from orchestrator.engine.admission import AT_WORK, Admission, Admitted
from orchestrator.engine.batch import Batch, ShardWrites
from orchestrator.engine.cache import Cache, Resident, unknown_type
from orchestrator.engine.journal import dumps
from orchestrator.engine.outbound import Outbound
from orchestrator.errors import AmendsError
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.problems import Problem, problem_of
from outbox_relay.errors import RowRefused


@dataclass(frozen=True, slots=True)
class Start:
    """A start as it was read: the saga's row is made from it where the caller's transaction was not in our database."""

    row: sagas.SagaRow


class Turns:
    """Feeds entries and collects what was decided. One instance a worker; `batch` changes with each cycle."""

    def __init__(
        self,
        registry: Registry,
        cache: Cache,
        outbound: Outbound,
        now_us: Callable[[], int],
        admission: Admission | None = None,
    ) -> None:
        self._registry, self._cache, self._outbound, self._now_us = registry, cache, outbound, now_us
        self._admission = admission or Admission()
        self._ended: list[str] = []
        self.condemned: set[str] = set()  # ids of sagas whose turn has killed two processes

    def take_ended(self) -> list[str]:
        """Ids of sagas that came to their end since the last call (or were blocked, or stay queued); after the commit
        they can leave memory.
        """
        ended, self._ended = self._ended, []
        return ended

    # --- starts and messages

    def start(
        self,
        batch: Batch,
        start: Start,
        waiting: list[mail.Waiting],
        raw: Envelope | Unreadable,
        finish: Finish | None = None,
    ) -> None:
        """A start message: make the row if it is not there, run the first turn, deliver what lay in the mailbox.

        `raw` goes to the dead letters if it is refused. `finish` is the end of a child that is over: its parent starts
        it again because it has not heard of that.
        """
        writes, row = batch.of(start.row.shard), start.row
        resident = self._cache.get(row.id)
        if resident is None:
            writes.created.append(row)
            resident = Resident(row, "queued")
            self._cache.put(resident)
        elif resident.row.input_hash != row.input_hash or resident.row.parent_key != row.parent_key:
            self._refuse_start(writes, row, raw)
            return
        elif resident.status != "queued":
            if finish is not None:
                writes.outbox.append(self._outbound.child_ended(resident.row, finish))
            writes.ignore("start of a saga that has begun", row.id)
            return
        if row.parent_key is not None or self._admission.admits(row.shard, writes.at_work):
            self.begin(batch, resident, waiting)
        else:
            self._turn_away(resident)

    def admitted(self, batch: Batch, admitted: Admitted, waiting: list[mail.Waiting]) -> None:
        """A queued saga for which there was room a moment ago."""
        resident = self._cache.get(admitted.saga_id)
        if resident is None or resident.status != "queued":
            return  # Its start came meanwhile, or somebody ended it.
        if self._admission.has_room(admitted.shard, batch.of(admitted.shard).at_work):
            self.begin(batch, resident, waiting)
        else:
            self._turn_away(resident)

    def _turn_away(self, resident: Resident) -> None:
        self._admission.turned_away(resident.row.shard, resident.row.saga_no)
        self._ended.append(resident.row.id)

    def begin(self, batch: Batch, resident: Resident, waiting: list[mail.Waiting]) -> None:
        """The first turn of a queued saga."""
        row, writes = resident.row, batch.of(resident.row.shard)
        assert row.input is not None, f"{row.id} has begun before"
        entry = Started(at_us=self._now_us(), input=json.loads(row.input))
        saga_type = self._registry.get(row.type, row.version)
        if (trouble := self._condemnation(row.id)) is not None:
            self._block(writes, resident, trouble, entry)
            return
        if saga_type is None:
            self._block(writes, resident, unknown_type(row), entry)
            return
        resident.live = LiveSaga(saga_type, row.identity)
        self.feed(batch, resident, entry)
        if waiting:
            writes.delivered.append(row.id)
        for message in waiting + writes.take_kept(row.id):
            self.feed(batch, resident, arrival(message, self._now_us()))

    def message(self, batch: Batch, shard: int, message: mail.Waiting, raw: Envelope | Unreadable) -> None:
        """A message to a saga: fed, kept for one that has not begun, or dead."""
        resident = self._cache.get(message.saga_id)
        if resident is None or resident.status == "queued":
            batch.of(shard).kept.append(message)
        elif resident.status in sagas.ENDED:
            error = f"saga {message.saga_id} is over ({resident.status}): nobody can receive this {message.type}"
            batch.of(shard).letters.append(mail.letter(raw, error))
        else:
            self.feed(batch, resident, arrival(message, self._now_us()))

    def _refuse_start(self, writes: ShardWrites, row: sagas.SagaRow, raw: Envelope | Unreadable) -> None:
        text = f"the id {row.id!r} belongs to another saga (other type, input or parent): this start was refused"
        writes.letters.append(mail.letter(raw, text))
        if row.parent_key is not None:
            problem = Problem(kind="error", type="SagaIdTaken", text=text, effect="none")
            writes.outbox.append(self._outbound.child_ended(row, Finish(status="failed", problem=problem)))

    # --- entries of running sagas

    def feed(self, batch: Batch, resident: Resident, entry: Entry) -> str:
        """One entry to one saga. What came of it, in words (for the verbs' audit)."""
        writes, row = batch.of(resident.row.shard), resident.row
        if (trouble := resident.trouble or self._condemnation(row.id)) is not None and resident.status != "blocked":
            resident.trouble = None
            self._block(writes, resident, trouble, entry)
            return f"the saga is blocked: {trouble.text}"
        if resident.status == "blocked":
            writes.held.append((row.saga_no, entry))
            return "the saga is blocked: kept until it is unblocked"
        if resident.live is None:
            writes.ignore(f"{type(entry).__name__} to a saga that is {resident.status}", row.id)
            return f"refused: the saga is {resident.status}"
        try:
            outcome = resident.live.feed(entry)
        except Blocked as blocked:
            self._block(writes, resident, blocked.problem, entry)
            return f"the saga is blocked now: {blocked.problem.text}"
        except TurnTooLong:  # It met our own code on the way, not the saga's.
            problem = Problem(kind="error", type="TurnTooLong", text="a turn ran too long", effect="none")
            self._block(writes, resident, problem, entry)
            return f"the saga is blocked now: {problem.text}"
        if isinstance(outcome, Ignored):
            writes.ignore(outcome.reason, row.id)
            writes.wakes.setdefault(row.saga_no, (row.id, self._next_wake(resident.live)))
            return f"refused: {outcome.reason}"
        batch.turns += 1
        batch.bytes += self._record(writes, resident, resident.live, entry, outcome)
        return "done"

    def _condemnation(self, saga_id: str) -> Problem | None:
        if saga_id not in self.condemned:
            return None
        self.condemned.discard(saga_id)
        text = "two processes were lost in this saga's turn, one with nothing else: is there a C call without end?"
        return Problem(kind="error", type="DeadlyTurn", text=text, effect="none")

    def _next_wake(self, live: LiveSaga) -> int | None:
        return None if live.next_timer is None else live.next_timer.due_us

    def _record(self, writes: ShardWrites, resident: Resident, live: LiveSaga, entry: Entry, turn: Turn) -> int:
        """What the turn writes; how many characters and bytes that is."""
        row, pos = resident.row, live.position - 1
        finish = next((d for d in turn.decisions if isinstance(d, Finish)), None)
        try:
            # All that can refuse a value comes before the first write: a turn is in the batch as a whole or not at all.
            leaving = [out for decision in turn.decisions for out in self._outbound.rows(row, decision)]
            if finish is not None and row.parent_key is not None:
                leaving.append(self._outbound.child_ended(row, finish))
            body = dumps(journal_body(entry, turn))
        except (AmendsError, RowRefused, ValueError) as error:
            self._block(writes, resident, problem_of(error), entry)
            return 0
        wake_us = None if turn.next_timer is None else turn.next_timer.due_us
        stored_wake = journal.LOAD_NOW_US if live.has_steps_under_way() else wake_us
        writes.turns.append(journal.Row(row.saga_no, pos, stored_wake, body))
        writes.wakes[row.saga_no] = (row.id, wake_us)
        writes.outbox.extend(leaving)
        if pos == 0:
            self._move(writes, resident, "running")
        for n, decision in enumerate(turn.decisions):
            self._carry_out(writes, resident, decision, pos, n)
        if finish is None and resident.status in sagas.ENDED:
            self._ended.append(row.id)  # It had ended, and was only told something.
        return len(body) + sum(len(row.payload) for row in leaving)

    def _carry_out(self, writes: ShardWrites, resident: Resident, decision: Decision, pos: int, n: int) -> None:
        row = resident.row
        match decision:
            case StartStep():
                writes.steps.append((row.id, decision))
            case SetValue(key=key, value=value):
                writes.values.append(sagas.Value(row.saga_no, key, pos, n, dumps(value)))
            case SetStatus(status=status, problem=problem):
                self._move(writes, resident, status, problem=problem)
            case Finish():
                self._finish(writes, resident, decision)
            case _:
                pass  # It left with the outbox rows, or it is there for the journal's readers only.

    def _finish(self, writes: ShardWrites, resident: Resident, finish: Finish) -> None:
        result = dumps(finish.result) if finish.status == "completed" else None
        self._move(
            writes, resident, finish.status, result=result, problem=finish.problem, left_undone=finish.left_undone
        )
        writes.wakes[resident.row.saga_no] = (resident.row.id, None)
        self._ended.append(resident.row.id)

    def _move(self, writes: ShardWrites, resident: Resident, after: str, **facts: Any) -> None:
        writes.move(sagas.Move(saga_no=resident.row.saga_no, before=resident.status, after=after, **facts))
        writes.at_work += (after in AT_WORK) - (resident.status in AT_WORK)
        resident.status = after

    # --- blocked sagas

    def _block(self, writes: ShardWrites, resident: Resident, problem: Problem, entry: Entry | None) -> None:
        """Quarantine: nothing of this turn is emitted, the entry is kept, the coroutines are thrown away."""
        if resident.live is not None:
            resident.live.evict()
            resident.live = None
        self._move(writes, resident, "blocked", problem=problem)
        if entry is not None:
            writes.held.append((resident.row.saga_no, entry))
        writes.wakes[resident.row.saga_no] = (resident.row.id, None)
        self._ended.append(resident.row.id)

    def block(self, batch: Batch, resident: Resident, problem: Problem, entry: Entry | None) -> None:
        """Quarantine from outside: a conflict, a poisonous turn, a value that Postgres refuses."""
        self._block(batch.of(resident.row.shard), resident, problem, entry)

    def end_dark(self, batch: Batch, resident: Resident, finish: Finish) -> None:
        """End it without the function: it is blocked, or has not begun."""
        writes = batch.of(resident.row.shard)
        writes.released.append(resident.row.saga_no)
        writes.unseen_ends.append(resident.row.saga_no)
        if resident.row.parent_key is not None:
            writes.outbox.append(self._outbound.child_ended(resident.row, finish))
        self._finish(writes, resident, finish)

    def unblock(
        self, batch: Batch, resident: Resident, live: LiveSaga | None, waiting: list[mail.Waiting], held: list[Entry]
    ) -> str:
        """Go on with the code at hand: `live` was replayed with it (None: it never began, and `waiting` came before its
        start); then feed what was held, and send again what is open: it may have been lost, or refused, meanwhile.
        """
        writes = batch.of(resident.row.shard)
        writes.released.append(resident.row.saga_no)
        if live is None:
            self._move(writes, resident, "queued")
            self.begin(batch, resident, waiting)
            held = [entry for entry in held if not isinstance(entry, Started)]
            before: tuple[Decision, ...] = ()
        else:
            resident.live = live
            self._move(writes, resident, live.status)
            writes.steps.extend((resident.row.id, step) for step in live.pending_steps())
            writes.wakes[resident.row.saga_no] = (resident.row.id, self._next_wake(live))
            before = live.pending_sends()
        for entry in held:
            if not _is_conflict(entry):  # That is the participant's to say again, of what is true by now.
                self.feed(batch, resident, replace(entry, at_us=self._now_us()))
        if resident.live is not None:
            open_still = resident.live.pending_sends()
            again = [decision for decision in before if decision in open_still]
            writes.outbox.extend(row for one in again for row in self._outbound.rows(resident.row, one))
        return "done" if resident.status != "blocked" else "blocked again"


def _is_conflict(entry: Entry) -> bool:
    return isinstance(entry, Replied) and entry.outcome == "conflict"


def arrival(message: mail.Waiting, at_us: int) -> MessageArrived:
    """The entry of a message that reached its saga."""
    return MessageArrived(
        at_us=at_us, message_id=message.message_id, type=message.type, channel=message.channel, body=message.body
    )
