"""The items of one cycle, each to its saga: a table of what to do with whom, between intake and turns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import psycopg

from orchestrator import limits
from orchestrator.core.blocked import Blocked
from orchestrator.core.decisions import Finish, Timer
from orchestrator.core.ending import UNDONE_BEFORE_IT_BEGAN, terminated
from orchestrator.core.entries import SettleRequested, StepEnded, TimerFired, VerbGiven
from orchestrator.core.lifecycle import refusal
from orchestrator.core.registry import Registry
from orchestrator.core.replay import replay
from orchestrator.core.turn import LiveSaga
from orchestrator.engine import journal, mail, sagas
from orchestrator.engine.admission import Admitted
from orchestrator.engine.batch import Batch
from orchestrator.engine.cache import Cache, Resident, unknown_type
from orchestrator.engine.inbound import AnswerCame, Dead, Item, MessageCame, ParentCame, StartCame
from orchestrator.engine.outbound import Outbound
from orchestrator.engine.replay_sample import Mismatch
from orchestrator.engine.steps import StepEnd
from orchestrator.engine.turns import Start, Turns
from orchestrator.engine.verbs import Verb
from orchestrator.engine.wakeups import DueTimer, Wakeup
from orchestrator.messaging.envelope import Envelope
from orchestrator.messaging.outgoing import forwarded_row
from orchestrator.problems import Problem
from outbox_relay import table
from outbox_relay.errors import RowRefused

_FORGED = {
    AnswerCame: "forged: the answer's nonce is not ours",
    ParentCame: "forged: the parent's nonce is not ours",
}
Work = Item | StepEnd | DueTimer | Verb | Admitted | Mismatch


@dataclass(frozen=True, slots=True)
class Known:
    """What was read from Postgres for the items of this cycle, before the first turn."""

    waiting: dict[str, list[mail.Waiting]]
    numbers: dict[str, int]
    finishes: dict[str, Finish] = field(default_factory=dict)  # of children that are over and whose start came again


class Processing:
    """Feeds the work of a cycle into a batch."""

    def __init__(
        self, registry: Registry, cache: Cache, turns: Turns, outbound: Outbound, now_us: Callable[[], int]
    ) -> None:
        self._registry, self._cache, self._turns, self._outbound = registry, cache, turns, outbound
        self._now_us = now_us

    def prepare(self, connection: psycopg.Connection[Any], work: Iterable[Work | Wakeup]) -> Known:
        """One look at the database for all items: sagas into memory, mailboxes, numbers for new rows."""
        listed = list(work)
        ids = {w.saga_id for w in listed if w.saga_id is not None}
        undone = frozenset(w.came.saga_id for w in listed if isinstance(w, Item) and isinstance(w.came, ParentCame))
        self._reload_ended(undone)
        self._cache.load(connection, ids, undone=undone)
        starts = sorted({w.came.row.id for w in listed if isinstance(w, Item) and isinstance(w.came, StartCame)})
        new = [saga_id for saga_id in starts if self._cache.get(saga_id) is None]
        begins = starts + [w.saga_id for w in listed if isinstance(w, Admitted)]
        return Known(
            waiting=mail.waiting(connection, begins) if begins else {},
            numbers=dict(zip(new, sagas.numbers(connection, len(new)), strict=True)) if new else {},
            finishes=self._finishes(connection, listed),
        )

    def replays_end(self, work: Sequence[Work]) -> int:
        """How many of these items come before one replay too many. A start is of somebody new, nearly always."""
        missing: set[str] = set()
        for index, one in enumerate(work):
            starts = isinstance(one, Item) and isinstance(one.came, StartCame)
            if one.saga_id is None or starts or one.saga_id in self._cache:
                continue
            missing.add(one.saga_id)
            if len(missing) > limits.BATCH_REPLAYS_MAX:
                return index
        return len(work)

    def _finishes(self, connection: psycopg.Connection[Any], work: list[Work | Wakeup]) -> dict[str, Finish]:
        starts = [w.came.row for w in work if isinstance(w, Item) and isinstance(w.came, StartCame)]
        known = [self._cache.get(row.id) for row in starts if row.parent_key is not None]
        ended = [one.row.saga_no for one in known if one is not None and one.status in sagas.ENDED]
        return sagas.finishes(connection, ended) if ended else {}

    def _reload_ended(self, undone: frozenset[str]) -> None:
        """A child that is over may be in memory as a row only: its undo needs the replayed stack."""
        for saga_id in undone:
            resident = self._cache.get(saga_id)
            if resident is not None and resident.live is None and resident.status in sagas.ENDED:
                self._cache.drop(saga_id)

    def process(self, batch: Batch, work: Work, known: Known, connection: psycopg.Connection[Any]) -> None:
        """One item. Its offset moves on whatever becomes of it."""
        match work:
            case Item():
                self._item(batch, work, known)
                writes = batch.of(work.shard)
                writes.next_offset = max(writes.next_offset or 0, work.offset + 1)
                batch.bytes += len(work.raw.payload or b"")
            case StepEnd():
                self._step(batch, work)
            case DueTimer():
                self._timer(batch, work)
            case Verb():
                self._verb(batch, work, connection)
            case Admitted():
                self._turns.admitted(batch, work, known.waiting.pop(work.saga_id, []))
            case Mismatch():
                self._mismatch(batch, work)

    def _item(self, batch: Batch, item: Item, known: Known) -> None:
        if isinstance(item.came, AnswerCame | ParentCame) and not self._is_genuine(item.came):
            batch.of(item.shard).ignore(_FORGED[type(item.came)], item.came.saga_id)
            return
        if (shard := self._other_shard(item)) is not None:
            self._forward(batch, item, shard)
            return
        match item.came:
            case Dead(error):
                batch.of(item.shard).letters.append(mail.letter(item.raw, error))
            case StartCame(row) if (wrong := self._outbound.why_unanswerable(row)) is not None:
                batch.of(item.shard).letters.append(mail.letter(item.raw, wrong))
            case StartCame(row):
                number = known.numbers.get(row.id, 0)
                start = Start(replace(row, saga_no=number) if number else row)
                waiting, finish = known.waiting.pop(row.id, []), known.finishes.get(row.id)
                self._turns.start(batch, start, waiting, item.raw, finish)
            case MessageCame(message):
                self._turns.message(batch, item.shard, message, item.raw)
            case AnswerCame():
                self._answer(batch, item.shard, item.came)
            case ParentCame():
                self._parent(batch, item.shard, item.came)

    def _is_genuine(self, came: AnswerCame | ParentCame) -> bool:
        return self._outbound.genuine(came.operation_key, came.nonce)

    def _other_shard(self, item: Item) -> int | None:
        """Where the saga of a message or an answer is, if it is not where this came. A start that came elsewhere is
        judged as any other: it finds its saga, or makes one that stays there.
        """
        match item.came:
            case MessageCame() | AnswerCame() | ParentCame():
                pass
            case _:
                return None
        resident = self._cache.get(item.saga_id or "")
        return None if resident is None or resident.row.shard == item.shard else resident.row.shard

    def _forward(self, batch: Batch, item: Item, shard: int) -> None:
        """Whoever hashed its key by another function than Kafka's own put it into another shard, which may be another
        orchestrator's: a turn here could not be written. So it goes once more to where its saga is.
        """
        assert isinstance(item.raw, Envelope)
        row = forwarded_row(item.raw, shard)
        try:
            table.check(row)
        except RowRefused as error:
            text = f"it came in partition {item.shard}, its saga is in {shard}, and it can't be sent there: {error}"
            batch.of(item.shard).letters.append(mail.letter(item.raw, text))
            return
        batch.of(item.shard).outbox.append(row)
        batch.of(item.shard).ignore("in a partition that is not its saga's: sent on", item.saga_id or "")

    def _answer(self, batch: Batch, shard: int, answer: AnswerCame) -> None:
        resident = self._cache.get(answer.saga_id)
        if resident is None or resident.row.uid != answer.uid:
            batch.of(shard).ignore("answer for a saga that is not here", answer.saga_id)
        else:
            self._turns.feed(batch, resident, answer.entry)

    def _parent(self, batch: Batch, shard: int, word: ParentCame) -> None:
        resident = self._cache.get(word.saga_id)
        if resident is None or resident.status == "queued" or resident.row.parent_key != word.operation_key:
            # The start was sent before it in the same partition, so it was refused: the child never was.
            batch.of(shard).ignore("a parent's word to a child that is not here", word.saga_id)
        elif resident.trouble is not None and isinstance(word.entry, SettleRequested):
            # Its code has changed since it ended well. Nobody needs it any more, so that is nobody's trouble; what its
            # participants remember goes at their horizon.
            batch.of(shard).ignore("a child was let go that can't be replayed", word.saga_id)
        else:
            self._turns.feed(batch, resident, word.entry)

    def _step(self, batch: Batch, end: StepEnd) -> None:
        resident = self._cache.get(end.saga_id)
        if resident is None or resident.row.saga_no != end.saga_no:
            return
        outcome: Literal["succeeded", "raised"] = "succeeded" if end.problem is None else "raised"
        entry = StepEnded(
            at_us=self._now_us(), seq=end.seq, attempt=end.attempt, outcome=outcome, body=end.body, problem=end.problem
        )
        self._turns.feed(batch, resident, entry)

    def _timer(self, batch: Batch, due: DueTimer) -> None:
        resident = self._cache.get(due.saga_id)
        if resident is not None and resident.live is not None:
            self._turns.feed(batch, resident, TimerFired(at_us=self._now_us(), timer=due.timer))

    def _mismatch(self, batch: Batch, found: Mismatch) -> None:
        resident = self._cache.get(found.saga_id)
        if resident is not None and resident.row.saga_no == found.saga_no and resident.status in sagas.OPEN:
            resident.trouble = None
            self._turns.block(batch, resident, found.problem, None)

    def timers(self, wakeup: Wakeup) -> tuple[Timer, ...]:
        """The timers that the saga has set."""
        resident = self._cache.get(wakeup.saga_id)
        return () if resident is None or resident.live is None else resident.live.timers()

    def key(self, wakeup: Wakeup, timer: Timer) -> str | None:
        """The key of the call whose patience the timer measures."""
        resident = self._cache.get(wakeup.saga_id)
        return None if resident is None or timer.seq is None else resident.row.key(timer.seq)

    def isolate(self, batch: Batch, work: Work, error: psycopg.Error) -> None:
        """What the database will never take: its saga is blocked, a message goes to the dead letters as bytes."""
        text = f"the database refuses a value of this turn (SQLSTATE {error.sqlstate}): {str(error).strip()}"
        if isinstance(work, Item):
            batch.of(work.shard).letters.append(mail.letter(work.raw, text))
            batch.of(work.shard).next_offset = work.offset + 1
        resident = self._cache.get(work.saga_id or "")
        if resident is not None and resident.live is not None:
            self._turns.block(batch, resident, Problem(kind="error", type="ValueRefused", text=text), None)

    # --- verbs

    def _verb(self, batch: Batch, verb: Verb, connection: psycopg.Connection[Any]) -> None:
        resident = self._cache.get(verb.saga_id)
        if resident is None:
            return  # Its row appears with its start; the verb waits in its table.
        if verb.verb == "unblock":
            outcome = self._unblock(batch, resident, connection)
        elif verb.verb == "terminate" and resident.live is None and resident.status not in sagas.ENDED:
            outcome = self._terminate_dark(batch, resident, verb)
        elif resident.status == "queued":
            outcome = self._end_queued(batch, resident, verb)
        else:
            entry = VerbGiven(at_us=self._now_us(), verb=cast("Any", verb.verb), note=verb.note)
            outcome = self._turns.feed(batch, resident, entry)
        batch.of(resident.row.shard).outcomes.append((verb.verb_no, outcome))

    def _unblock(self, batch: Batch, resident: Resident, connection: psycopg.Connection[Any]) -> str:
        if resident.status != "blocked":
            return f"refused: the saga is {resident.status}, not blocked"
        row = resident.row
        saga_type = self._registry.get(row.type, row.version)
        if saga_type is None:
            return f"refused: {unknown_type(row).text}"
        live: LiveSaga | None = None
        waiting: list[mail.Waiting] = []
        if turns := journal.read(connection, [row.saga_no])[row.saga_no]:
            try:
                live = replay(saga_type, row.identity, turns)
            except Blocked as blocked:
                return f"refused, still blocked: {blocked.problem.text}"
        else:  # It never began, so what came before its start is still in the mailbox.
            waiting = mail.waiting(connection, [row.id]).get(row.id, [])
        return self._turns.unblock(batch, resident, live, waiting, mail.held(connection, row.saga_no))

    def _terminate_dark(self, batch: Batch, resident: Resident, verb: Verb) -> str:
        """Terminate a saga that can't be replayed or has not begun: nobody can say what it left undone."""
        problem = terminated(verb.note)
        left = ("unknown: the saga could not be replayed",) if resident.status == "blocked" else ()
        self._turns.end_dark(batch, resident, Finish(status="terminated", problem=problem, left_undone=left))
        return "done"

    def _end_queued(self, batch: Batch, resident: Resident, verb: Verb) -> str:
        """A verb other than terminate for a saga that has not begun: it can be cancelled, and nothing else."""
        if (reason := refusal("queued", cast("Any", verb.verb))) is not None:
            return f"refused: {reason}"
        self._turns.end_dark(batch, resident, Finish(status="cancelled", problem=UNDONE_BEFORE_IT_BEGAN))
        return "done"
