"""Sagas as data, and a world that treats them badly: any order, copies, lost answers, crashes between any two turns.

A program is a JSON tree; one saga interprets all of them and returns what it accounts for: the labels whose effect it
relies on, and those of which it said `keep` (they may have happened). The world knows what really took effect.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from orchestrator import Command, Failure, Retry, Saga, saga
from orchestrator.core.decisions import Finish, SendCommand, SendUndo, StartStep, Turn
from orchestrator.core.entries import Entry, Json, Replied, Started, StepEnded, TimerFired, UndoReplied, VerbGiven
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.replay import journal_body, replay
from orchestrator.core.steps import STEP_LOST
from orchestrator.core.turn import Ignored, LiveSaga
from orchestrator.errors import OperationError
from orchestrator.problems import Problem, problem_of

Program = list[Any]
PATIENT = Retry(max_attempts=3, first_delay_s=0.5, max_delay_s=2, attempt_timeout_s=5)
EVENTS_MAX = 3_000


class DoIt(Command[str], service="anything", name="ProgramDoIt"):
    label: str


class LookAt(Command[str], service="anything", undo=False, name="ProgramLookAt"):
    label: str


class No(Failure, wire_name="ProgramNo"):
    pass


def act(label: str) -> str:
    raise NotImplementedError  # the world runs it


def take_back(label: str) -> None:
    raise NotImplementedError


@dataclass
class Account:
    """What a scope relies on. Taken back, it relies on nothing."""

    labels: set[str] = field(default_factory=set)
    inner: list["Account"] = field(default_factory=list)

    def all(self) -> set[str]:
        return self.labels.union(*(account.all() for account in self.inner))

    def clear(self) -> None:
        self.labels.clear()
        self.inner.clear()


@saga
async def interpret(s: Saga, program: list[Any]) -> dict[str, list[str]]:
    account, kept, tasks = Account(), set[str](), list[asyncio.Task[None]]()
    await Interpreter(s, kept, tasks).run(program, account)
    return {"relies on": sorted(account.all() - kept), "keeps": sorted(kept)}


class Interpreter:
    def __init__(self, s: Saga, kept: set[str], tasks: list[asyncio.Task[None]]) -> None:
        self.s, self.kept, self.tasks = s, kept, tasks

    async def run(self, node: Program, account: Account) -> None:
        await getattr(self, "do_" + node[0])(account, *node[1:])

    async def do_call(self, account: Account, label: str, timeout: float | None) -> None:
        await self.s.call(DoIt(label=label), retry=PATIENT, timeout=timeout)
        account.labels.add(label)

    async def do_look(self, account: Account, label: str) -> None:
        await self.s.call(LookAt(label=label), retry=PATIENT)

    async def do_step(self, account: Account, label: str, timeout: float | None) -> None:
        await self.s.step(act, label, undo=take_back, retry=PATIENT, timeout=timeout)
        account.labels.add(label)

    async def do_sleep(self, account: Account, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def do_seq(self, account: Account, nodes: list[Program]) -> None:
        for node in nodes:
            await self.run(node, account)

    async def do_gather(self, account: Account, nodes: list[Program], tolerant: bool) -> None:
        await asyncio.gather(*(self.run(node, account) for node in nodes), return_exceptions=tolerant)

    async def do_group(self, account: Account, nodes: list[Program]) -> None:
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self.run(node, account))

    async def do_race(self, account: Account, nodes: list[Program]) -> None:
        tasks = {asyncio.create_task(self.run(node, account)) for node in nodes}
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for loser in waiting:
            loser.cancel()
        for winner in done:
            winner.exception()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()

    async def do_timeout(self, account: Account, seconds: float, node: Program) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.run(node, account)

    async def do_catch(self, account: Account, node: Program) -> None:
        with suppress(OperationError, ValueError, ExceptionGroup):
            await self.run(node, account)

    async def do_scope(self, account: Account, node: Program, ending: str) -> None:
        own = Account()
        account.inner.append(own)
        async with self.s.scope() as scope:
            if ending == "keep":
                scope.keep()
                self.kept.update(labels_of(node))
            try:
                await self.run(node, own)
            except BaseException:
                own.clear()  # before the scope takes it back: the saga may end meanwhile
                raise
        if ending == "undo":
            own.clear()
            await scope.undo()

    async def do_background(self, account: Account, node: Program) -> None:
        async def quietly() -> None:
            await self.do_catch(account, node)

        self.tasks.append(asyncio.create_task(quietly()))

    async def do_tidy(self, account: Account, node: Program, label: str) -> None:
        try:
            await self.run(node, account)
        finally:
            await self.do_look(account, label)

    async def do_fail(self, account: Account) -> None:
        raise ValueError("the program says so")


def labels_of(node: Any) -> Iterator[str]:
    """Of everything in it that has an effect."""
    if isinstance(node, list):
        if node[:1] in (["call"], ["step"]):
            yield node[1]
        for part in node:
            yield from labels_of(part)


@dataclass
class Row:
    """One key at its participant (or one step): what really is."""

    label: str
    effect: bool = False
    state: str = "open"
    in_doubt: bool = False


class World:
    """Drives one saga. Everything that chance decides comes from `chance`."""

    def __init__(self, program: Program, behaviour: dict[str, list[str]], chance: Random, *, wild: bool = True) -> None:
        self.identity = SagaIdentity("p", "uid-p", "interpret", 1, 0)
        self.live = LiveSaga(interpret, self.identity)
        self.chance = chance
        self.wild = wild
        self.behaviour = {label: list(outcomes) for label, outcomes in behaviour.items()}
        self.rows: dict[int, Row] = {}
        self.journal: list[list[Json]] = []
        self.snapshots: list[Any] = []
        self.now_us = 1_000_000_000
        self.outbound: list[SendCommand | SendUndo] = []
        self.inbound: list[Entry] = []
        self.steps: list[StartStep] = []
        self.finish: Finish | None = None
        self.feed(Started(at_us=self.now_us, input=program))

    # ---- the run

    def run(self, *, cancel_at: int | None = None, crash_share: float = 0.0) -> None:
        """To the end, and until every last copy has arrived."""
        for event in range(EVENTS_MAX):
            if event == cancel_at:
                self.feed(VerbGiven(at_us=self.now_us, verb="cancel"))
            if self.chance.random() < crash_share and self.finish is None:
                self.crash()
            if not self.one_event():
                break
        assert self.finish is not None, f"it never ended: {self.live.status}, waits for {self.live.waiting_for}"

    def one_event(self) -> bool:
        choices = [self.deliver_out] * bool(self.outbound) + [self.deliver_in] * bool(self.inbound)
        choices += [self.run_step] * bool(self.steps)
        timer = self.live.next_timer if self.finish is None else None
        if timer is not None and (not choices or (self.wild and self.chance.random() < 0.1)):
            self.now_us = max(self.now_us, timer.due_us)
            self.feed(TimerFired(at_us=self.now_us, timer=timer.number))
            return True
        if not choices:
            return False
        self.chance.choice(choices)()
        return True

    def feed(self, entry: Entry) -> None:
        self.now_us += 1
        turn = self.live.feed(replace(entry, at_us=self.now_us))
        if isinstance(turn, Ignored):
            return
        self.journal.append(json_of(replace(entry, at_us=self.now_us), turn))
        self.snapshots.append(snapshot(self.live))
        for decision in turn.decisions:
            match decision:
                case SendCommand() | SendUndo():
                    self.outbound.append(decision)
                case StartStep():
                    self.steps.append(decision)
                case Finish():
                    self.finish = decision

    def crash(self) -> None:
        """Another process takes over: what was running is lost, what is open is sent again."""
        self.live.evict()
        self.live = replay(interpret, self.identity, self.journal)
        self.outbound.extend(d for d in self.live.pending_sends() if isinstance(d, SendCommand | SendUndo))
        self.steps = list(self.live.pending_steps())
        self.inbound = [entry for entry in self.inbound if not isinstance(entry, StepEnded)]
        for seq, attempt in self.live.abandoned_steps():
            self.inbound.append(StepEnded(at_us=0, seq=seq, attempt=attempt, outcome="raised", problem=STEP_LOST))

    # ---- what participants do

    def take(self, queue: list[Any]) -> Any:
        """Any of them, and sometimes a copy stays."""
        index = self.chance.randrange(len(queue))
        return queue[index] if self.wild and self.chance.random() < 0.15 else queue.pop(index)

    def deliver_in(self) -> None:
        self.feed(self.take(self.inbound))

    def deliver_out(self) -> None:
        sent = self.take(self.outbound)
        row = self.rows.setdefault(sent.seq, Row(sent.body["label"]))
        if isinstance(sent, SendUndo):
            row.state, row.effect = "closed", False
            self.inbound.append(UndoReplied(at_us=0, seq=sent.seq, attempt=sent.attempt, outcome="undone"))
            return
        answer = self.handled(row)
        if answer is not None:
            outcome, problem = answer
            body = "ok" if outcome == "succeeded" else None
            self.inbound.append(
                Replied(at_us=0, seq=sent.seq, attempt=sent.attempt, outcome=outcome, body=body, problem=problem)
            )

    def handled(self, row: Row) -> tuple[Any, Problem | None] | None:
        if row.state == "closed":
            return None
        if row.state == "done":
            return "succeeded", None
        if row.state == "failed":
            return "failed", no(row)
        match self.next_outcome(row.label):
            case "no":
                row.state = "failed"
                return "failed", no(row)
            case "busy":
                return "retry", Problem(kind="transient", type="Transient", effect="none")
            case "later":
                return "retry", Problem(kind="transient", type="Transient", effect="none", retry_after_s=1.0)
            case "lost":
                row.in_doubt = True
                return "retry", Problem(kind="error", type="Lost", effect="unknown")
            case "lost after the effect":
                row.in_doubt = row.effect = True
                return "retry", Problem(kind="error", type="Lost", effect="unknown")
            case "silent after the effect":
                row.effect, row.state = True, "done"
                return None
            case "silent":
                return None
        row.effect, row.state = True, "done"
        return "succeeded", None

    def run_step(self) -> None:
        step = self.steps.pop(self.chance.randrange(len(self.steps)))
        problem: Problem | None = None
        if step.undo_of is not None:
            self.rows.setdefault(step.undo_of, Row(step.args[0])).effect = False
        else:
            row = self.rows.setdefault(step.seq, Row(step.args[0]))
            outcome = self.next_outcome(row.label)
            if outcome == "no" and not row.effect:
                problem = problem_of(No())
            elif outcome in ("busy", "later"):
                problem = Problem(kind="transient", type="Transient", effect="none")
            elif outcome.startswith(("lost", "silent")):
                row.effect = row.effect or outcome.endswith("effect")
                problem = problem_of(ValueError("?"))
            else:
                row.effect = True
        if problem is not None and step.maybe_ran:
            problem = replace(problem, effect="unknown")
        self.inbound.append(
            StepEnded(
                at_us=0,
                seq=step.seq,
                attempt=step.attempt,
                outcome="succeeded" if problem is None else "raised",
                body="ok" if problem is None and step.undo_of is None else None,
                problem=problem,
            )
        )

    def next_outcome(self, label: str) -> str:
        outcomes = self.behaviour.get(label, [])
        return outcomes.pop(0) if outcomes else "ok"

    # ---- what must hold

    def check_books(self, program: Program) -> None:
        """Effects that stand are those that the result accounts for; a saga that failed leaves only what it kept."""
        assert self.finish is not None
        undoable = set(labels_of(program))
        standing = {row.label for row in self.rows.values() if row.effect} & undoable
        may_stand = kept_in(program)
        must_stand: set[str] = set()
        if self.finish.status == "completed":
            must_stand = set(self.finish.result["relies on"])
            may_stand = must_stand | set(self.finish.result["keeps"])
        assert must_stand <= standing <= may_stand, (must_stand, standing, may_stand)
        assert self.finish.left_undone == ()

    def check_replays(self) -> None:
        """Cut anywhere, the journal leads to the same saga."""
        again = LiveSaga(interpret, self.identity)
        for position, row in enumerate(self.journal):
            again.evict()
            if position % 7 == 0 or position == len(self.journal) - 1:
                again = replay(interpret, self.identity, self.journal[: position + 1])
                assert snapshot(again) == self.snapshots[position], position
            assert row
        again.evict()


def kept_in(node: Any) -> set[str]:
    """All labels inside scopes that say keep."""
    if not isinstance(node, list):
        return set()
    own = set(labels_of(node[1])) if node[:1] == ["scope"] and node[2] == "keep" else set()
    return own.union(*(kept_in(part) for part in node))


def no(row: Row) -> Problem:
    problem = problem_of(No())
    return replace(problem, effect="unknown") if row.in_doubt else problem


def json_of(entry: Entry, turn: Turn) -> list[Json]:
    import json

    body: list[Json] = json.loads(json.dumps(journal_body(entry, turn)))
    return body


def snapshot(live: LiveSaga) -> Any:
    steps = [(step.to_json(), step.args) for step in live.pending_steps()]
    return live.status, live.timers(), live.pending_sends(), steps, live.abandoned_steps(), live.waiting_for
