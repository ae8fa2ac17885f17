"""M2: one external command with a way back, from its first attempt to the purged inbox row. Where is the money?

The participant's side is the product's code (`inbox`), the orchestrator's side goes by its tables (`core.outcomes`);
the orchestrator is one actor, M1 shows why it may be. Messages are a set: any order, copies, and old ones may come
late. A call to the outside is a task: one that nobody schedules is a stopped process, and once another run holds its
row its steps are only ``may``. A request to the gateway is apart from its sender and can land when that is long dead.

Gateways: ``key`` (the same key gets the same answer; the contract pins), ``reject`` (the same key again is declined as
a duplicate, the RM 45 case), ``lookup`` (knows no keys, but can be asked).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, get_args

from orchestrator.core import outcomes
from orchestrator.core.outcomes import after as outcome_after
from orchestrator.core.outcomes import reply_counts
from tests.model.explorer import Machine, Step
from tests.model.inbox import GATEWAYS, After, Asked, Gateway, Inbox, Row, mutated
from tests.model.rules import Subject, rule

ATTEMPTS_MAX = 2
DEPOSED_MAX = 1  # processes that are stopped at a time, of those that have lost their row

RULES = {
    "stable_key": rule("1: the gateway sees one key over all attempts"),
    "retry_counts_for_its_attempt": rule("2: `retry` counts for the current attempt only"),
    "in_doubt": rule("5: a definite no after an attempt that ended unknown says effect=unknown and is undone"),
    "settle_before_end": rule("6: a saga that caught the timeout does not end before the operation is settled"),
    "done_runs_undo": rule("7: `done` with no inbox row runs the undo all the same"),
    "tombstone": rule("7: `unknown` with no inbox row leaves a tombstone"),
    "horizon_guard": rule("7: ... but only if the command is younger than the inbox's horizon"),
    "purge_after_expiry": rule("7: a row is purged when settled and past the expires_at of all that was sent"),
    "running_before_call": rule("8: `running` is committed before the call"),
    "undoing_state": rule("8: a row is `undoing` while its undo calls out, and `undone` only afterwards"),
    "only_the_holder_ends": rule("8: a run that does not hold the row any more does not end it"),
    "late_result": rule("8: a deposed run's success makes an open row done and sends a closed one into undoing"),
    "undo_waits_for_running": rule("8: an undo that meets `running` waits for its end or its deadline"),
    "deadline": rule("8: a run whose deadline has passed is given up"),
    "deadline_before_send": rule("8: a holder looks at its deadline last thing before it calls"),
    "ask_before_retry": rule("8: an attempt after a lost one asks the lookup first"),
    "no_is_late": rule("8: a lookup's no counts only after the deadline plus the gateway's longest delay"),
    "second_lookup": rule("8: after an undo in doubt it is looked up, or undone, once more"),
    "pin_before_undo": rule("8: in_doubt=pin repeats the call under its key before it undoes"),
    "undo_is_repeated": rule("4: an undo without an answer is sent again"),
    "late_success_to_undo": rule(
        "6: a success that comes while the operation is undone goes to the undo",
        redundant="the inbox goes by its own row; a purged one is covered by the guard of the horizon",
    ),
    "expires_at": rule("8: a command past expires_at that has no row is not begun"),
}


class Task(NamedTuple):
    """A call of some process. `holds`: its run is the one that the row names."""

    asked: Asked
    at: str  # begin | sent | <an outcome that is to be stored> | repeat, refund (of an undo)
    holds: bool = True


class State(NamedTuple):
    op: outcomes.State = "open"
    attempt: int = 1
    doubt: bool = False  # the orchestrator saw an attempt end unknown
    known: bool = False  # it has the reply
    caught: bool = False  # the saga goes on another way (the mutant ends here, and leaves the operation as it is)
    end: str = ""  # completed | ended: terminal, and the charge is not part of the result
    net: frozenset[tuple[Any, ...]] = frozenset({("command", 1, False)})
    row: Row = Row()
    tasks: tuple[Task, ...] = ()
    flights: int = 0  # requests on their way that nobody waits for
    answer: str = ""  # what a gateway that honours keys has answered
    charged: int = 0
    refunded: int = 0
    old: bool = False  # what was sent before is past its expires_at, and the command is past the inbox's horizon
    faults: int = 2
    alarm: str = ""


_HEARD_OF_A_DEPOSED = {
    "do": ("begin", "sent", "charged", "answer lost"),
    "resolve": ("begin", "charged"),
    "undo": ("refund", "repeat"),
}


class OutcomeMachine(Machine):
    def __init__(self, rules: frozenset[str], gateway: Gateway) -> None:
        super().__init__(rules)
        self.gateway = gateway
        self.name = f"M2 outcome, gateway `{gateway}`"
        self.broken_rules = frozenset(RULES) - rules
        self.inbox = Inbox(gateway, self.broken_rules)
        self.faults_max = 1 if "one_fault" in rules else 2

    def with_its_code(self) -> AbstractContextManager[object]:
        return mutated(self.broken_rules)

    def initial(self) -> State:
        return State(faults=self.faults_max)

    def broken(self, s: State) -> str | None:
        if s.alarm:
            return s.alarm
        if s.charged > 1:
            return "two effects for one operation"
        return "more was refunded than charged" if s.refunded > s.charged else None

    def broken_at_rest(self, s: State) -> str | None:
        wanted, paid = int(s.end == "completed"), s.charged - s.refunded
        return None if paid == wanted else f"the saga is {s.end}; the customer has paid {paid} time(s), not {wanted}"

    def ended(self, s: State) -> bool:
        return bool(s.end) and not s.net and not s.row.recheck and s.row.state not in ("running", "undoing")

    def steps(self, s: State) -> Iterator[Step]:
        for kind, what, after in self.all_steps(s):
            yield kind, what, self.tidy(after)

    def tidy(self, s: State) -> State:
        """Forget what can't matter any more: answers that will never count, deposed tasks that nobody will hear."""
        net = frozenset(m for m in s.net if self.matters(s, m))
        tasks = s.tasks
        if any(not task.holds for task in tasks) and "only_the_holder_ends" in self.rules:
            tasks = tuple(t for t in tasks if t.holds or t.at in _HEARD_OF_A_DEPOSED.get(t.asked.kind, ()))
        row = s.row._replace(attempt=0) if s.row.attempt and s.row.state in ("undoing", "undone", "refused") else s.row
        return s._replace(net=net, tasks=tasks, row=row)

    def matters(self, s: State, message: tuple[Any, ...]) -> bool:
        match message[0]:
            case "command" | "undo" | "settled" | "conflict":
                return True
            case "not undone":
                return message[1] == "failed" and not s.end
            case "success":
                return not s.end and not s.known
            case "retry":
                late = message[1] != s.attempt and "retry_counts_for_its_attempt" in self.rules
                return s.op == "open" and not late
            case "failed":
                return not s.end and s.op in ("open", "unknown")
        return not s.end

    def all_steps(self, s: State) -> Iterator[Step]:
        yield from self.orchestrator(s)
        for message in sorted(s.net):
            yield from self.deliver(s, message)
        yield from self.inbox_alone(s)
        for task in sorted(set(s.tasks)):
            yield from self.work(s, task)
        if s.flights:
            for after, what in self.gateway_acts(s):
                yield "must", f"a request whose sender has gone lands: {what}", after._replace(flights=s.flights - 1)
        if s.end and not self.on_its_way(s):
            yield "must", "time passes: what was sent has expired", self.later(s)
        if s.faults:
            yield from self.faults(s)

    def later(self, s: State) -> State:
        stale = frozenset((*m[:2], True) if m[0] in ("command", "undo", "settled") else m for m in s.net)
        row = s.row if s.row.state == "absent" else s.row._replace(expired=True)
        return s._replace(old=True, net=stale, row=row)

    # --- the orchestrator: attempts, the end of the operation, the undo

    def orchestrator(self, s: State) -> Iterator[Step]:
        if s.end:
            return
        if s.op == "open":
            yield "must", f"attempt {s.attempt} times out", self.attempt_ended(s, "unknown", pause=False)
            yield "must", "the whole call times out", self.lost(s._replace(doubt=True))
        elif s.op == "succeeded" and not s.caught:
            yield "must", "the rest succeeds: completed", self.over(s, "completed")
            yield "must", "the rest fails: undo", self.begin_undo(s)
        elif s.op in ("succeeded", "unknown"):
            yield "must", "what is nobody's is undone before the end", self.begin_undo(s)
            if "settle_before_end" not in self.rules:
                yield "must", "the saga caught the timeout and completes by another way", self.over(s, "ended")
        elif s.op == "undoing" and "undo_is_repeated" in self.rules:
            at_it = s.row.state == "undoing" and s.row.held
            if not at_it and not any(m[0] in ("undo", "undone") for m in s.net):
                yield "must", "the undo is sent again", self.send_undo(s)

    def attempt_ended(self, s: State, effect: str, *, pause: bool) -> State:
        s = s._replace(doubt=s.doubt or effect == "unknown")
        if pause:  # It was not begun: no attempt is burnt, and the model's number stays.
            return send(s, ("command", s.attempt, False))
        if s.attempt < ATTEMPTS_MAX:
            return send(s._replace(attempt=s.attempt + 1), ("command", s.attempt + 1, False))
        return self.lost(s) if s.doubt else self.over(s._replace(op=outcome_after(s.op, "failed")), "ended")

    def lost(self, s: State) -> State:
        return s._replace(op=outcome_after(s.op, "lost"), caught=True)

    def begin_undo(self, s: State) -> State:
        return self.send_undo(s._replace(op=outcome_after(s.op, "undo")))

    def send_undo(self, s: State) -> State:
        return send(s, ("undo", "done" if s.known else "unknown", False))

    def over(self, s: State, end: str) -> State:
        return send(s._replace(end=end), ("settled", "", False))

    def answered(self, s: State, message: tuple[Any, ...]) -> State:
        kind = message[0]
        if s.end or (kind == "success" and s.known):
            return s
        if kind == "conflict" or message == ("not undone", "failed"):
            return s._replace(alarm=f"{message}: people are called, though nobody lost his memory")
        if kind == "undone":
            return self.over(s._replace(op=outcome_after(s.op, "undone")), "ended") if s.op == "undoing" else s
        if kind == "not undone":
            return s
        return self.replied(s, "succeeded" if kind == "success" else kind, message)

    def replied(self, s: State, kind: Any, message: tuple[Any, ...]) -> State:
        attempt = message[1] if "retry_counts_for_its_attempt" in self.rules else s.attempt
        if reply_counts(s.op, kind, attempt=attempt, sent=s.attempt, in_flight=s.op == "open"):
            return s
        if kind == "succeeded":
            if s.op == "undoing" and "late_success_to_undo" not in self.rules:
                return s
            return s._replace(op=outcome_after(s.op, "succeeded"), known=True)
        if kind == "retry":
            after = self.attempt_ended(s, message[2], pause=message[3])
            return after if message[1] == s.attempt else after._replace(alarm="an old answer burnt an attempt")
        doubt = s.doubt or message[2] == "unknown"
        if s.op == "unknown":
            return s if doubt else self.over(s._replace(op=outcome_after(s.op, "failed")), "ended")
        return (
            self.lost(s._replace(doubt=True))
            if doubt
            else self.over(s._replace(op=outcome_after(s.op, "failed")), "ended")
        )

    # --- messages

    def deliver(self, s: State, message: tuple[Any, ...]) -> Iterator[Step]:
        gone = s._replace(net=s.net - {message})
        for after, what in self.taken(gone, message):
            yield "must", what, after
            if s.faults and message[0] in ("command", "undo", "success", "retry") and "no_copies" not in self.rules:
                copied = after._replace(net=after.net | {message}, faults=s.faults - 1)
                yield "fault", f"{what}; a copy of it will come", copied

    def taken(self, s: State, message: tuple[Any, ...]) -> Iterator[tuple[State, str]]:
        kind, what, *rest = message
        if kind == "command":
            after = self.inbox.command(s.row, what, stale=rest[0])
            if after.call is not None and "running_before_call" not in self.rules:
                after = after._replace(row=s.row)
            yield from self.did(s, after, f"{'an expired' if rest[0] else 'the'} command (attempt {what}) comes")
        elif kind == "undo":
            for late in (False, True) if s.row.held and self.may_depose(s) else (False,):
                after = self.inbox.undo(s.row, what, stale=rest[0], aged=s.old, late=late)
                yield from self.did(s, after, f"the undo ({what}) comes")
        elif kind == "settled":
            yield from self.did(s, self.inbox.settled(s.row, stale=rest[0]), "settled comes")
        else:
            yield self.answered(s, message), f"the orchestrator hears {' '.join(map(str, message))}"

    def did(self, s: State, after: After, what: str) -> Iterator[tuple[State, str]]:
        """What a step of the participant did, to the whole."""
        if after.alarm:
            yield s._replace(alarm=after.alarm), what
            return
        row, tasks = after.row, s.tasks
        if "no_is_late" not in self.rules:
            row = row._replace(quiet=False)
        if after.new_run or row.state == "absent":
            tasks = tuple(task._replace(holds=False) for task in tasks)
        if after.call is not None:
            tasks = (*tasks, Task(after.call, "begin"))
        s = s._replace(row=row, tasks=tuple(sorted(tasks)))
        for answer in after.answers:
            s = send(s, answer)
        said = "".join(f", {answer[0]}" for answer in after.answers) + (f", {after.call.kind}" if after.call else "")
        yield s, f"{what}: {row.state}{said}"

    # --- the inbox without a message: deadlines, second looks, the purge

    def may_depose(self, s: State) -> bool:
        """A run's deadline may pass although its process lives, if not too many are stopped already."""
        living = any(task.holds for task in s.tasks)
        return not living or sum(not task.holds for task in s.tasks) < DEPOSED_MAX

    def inbox_alone(self, s: State) -> Iterator[Step]:
        row = s.row
        if row.held and self.may_depose(s) and (row.state != "running" or "deadline" in self.rules):
            for after, what in self.did(s, self.inbox.scan(row), "its deadline passes"):
                yield "must", what, after
        if row.held and row.state == "running" and self.gateway == "lookup" and s.charged:
            # Its holder's session has ended, be it dead or not. What such a look does not find changes nothing.
            asked = Asked("resolve", row.attempt, row.reply, row.in_doubt, row.quiet)
            early = self.inbox.end(row, asked, "charged", holds=False)
            for after, what in self.did(s, early, "an early look finds it"):
                yield "may", what, after
        if row.due and not (row.quiet and self.on_its_way(s)):
            for after, what in self.did(s, self.inbox.scan(row), "its time has come"):
                yield "must", what, after
        past = row.expired or "purge_after_expiry" not in self.rules
        if row.settled and past and not row.held and not row.due:
            yield "must", "the row is purged", self.purged(s)

    def purged(self, s: State) -> State:
        return s._replace(row=Row(), tasks=tuple(sorted(task._replace(holds=False) for task in s.tasks)))

    def on_its_way(self, s: State) -> bool:
        return bool(s.flights) or any(task.at == "sent" for task in s.tasks)

    # --- the calls

    def work(self, s: State, task: Task) -> Iterator[Step]:
        will = "must" if task.holds else "may"
        who = f"{'the' if task.holds else 'a deposed'} {task.asked.kind} (attempt {task.asked.attempt})"
        if task.at == "begin":
            for after, what, sure in self.begin(s, task):
                yield "must" if sure or task.holds else "may", f"{who} {what}", after
        elif task.at in ("sent", "repeat"):
            yield from self.call(s, task, who)
        elif task.at == "refund":
            yield will, f"{who} refunds what there is", swap(s._replace(refunded=s.charged), task, "refunded")
            if s.faults:
                lost = s._replace(refunded=s.charged, faults=s.faults - 1)
                yield "fault", f"{who} refunds, and the answer is lost", swap(lost, task, "undo lost")
        else:
            for after, what in self.store(swap(s, task), task, who):
                yield will, what, after

    def begin(self, s: State, task: Task) -> Iterator[tuple[State, str, bool]]:
        """(state, what, whether it happens even to a deposed one that wakes up)."""
        asked, found = task.asked, s.charged > 0
        quiet_over = not (asked.quiet and self.on_its_way(s))
        lookup = self.gateway == "lookup"
        match asked.kind:
            case "do" if asked.in_doubt and lookup and "ask_before_retry" in self.rules and found:
                yield swap(s, task, "charged"), "is found by the lookup", False
            case "do" if asked.in_doubt and lookup and "ask_before_retry" in self.rules and not quiet_over:
                yield swap(s, task, "too early"), "is not found, and it is too early to say", False
            case "do":
                yield from self.send(s, task)
            case "resolve":
                yield swap(s, task, "charged" if found else "lost"), f"is {'' if found else 'not '}found", False
            case "undo" if asked.reply:
                yield swap(s, task, "refund"), "knows the reply", False
            case "undo" if self.inbox.pins:
                yield swap(s, task, "repeat"), "is to repeat the call under its key", False
            case "undo" if not lookup or found:
                yield swap(s, task, "refund"), "is found" if lookup else "is blind", False
            case "undo":
                what = "nothing to undo" if quiet_over else "undo too early"
                yield swap(s, task, what), f"finds {what}", False
            case "recheck" if not lookup:
                yield swap(s, task, "found blindly"), "can't be asked about", False
            case "recheck":
                again = found and not asked.reply
                yield (
                    swap(s, task, "found" if again else "not found"),
                    f"looks{'' if again else ' and finds nothing new'}",
                    False,
                )

    def send(self, s: State, task: Task) -> Iterator[tuple[State, str, bool]]:
        if task.holds or "deadline_before_send" not in self.rules or self.gateway == "key":  # `key` must not need it.
            yield swap(s, task, "sent"), "calls", False
        if not task.holds:
            yield swap(s, task, "too late"), "sees that its deadline has passed", True

    def call(self, s: State, task: Task, who: str) -> Iterator[Step]:
        for after, what in self.gateway_acts(s):
            at = what if task.at == "sent" else {"charged": "refund", "declined": "nothing to undo"}[what]
            yield "must", f"the request of {who} lands: {what}", swap(after, task, at)
            if s.faults:
                lost = "answer lost" if task.at == "sent" else "undo lost"
                losing = after._replace(faults=s.faults - 1)
                yield "fault", f"the request of {who} lands: {what}, and the answer is lost", swap(losing, task, lost)
        if s.faults and task.at == "sent":
            waiting = s._replace(faults=s.faults - 1, flights=s.flights + 1)
            yield "fault", f"{who} waits in vain, its request is still on its way", swap(waiting, task, "answer lost")

    def gateway_acts(self, s: State) -> Iterator[tuple[State, str]]:
        stable = "stable_key" in self.rules
        if self.gateway == "key" and s.answer and stable:
            yield s, s.answer
        elif self.gateway == "reject" and s.charged and stable:
            yield s, "declined"
        else:
            yield s._replace(charged=s.charged + 1, answer="charged"), "charged"
            yield s._replace(answer="declined"), "declined"

    def store(self, s: State, task: Task, who: str) -> Iterator[tuple[State, str]]:
        for outcome in self.outcomes_of(s, task):
            row = s.row
            if "running_before_call" not in self.rules and task.holds and row.state == "absent":
                row = Row("running", attempt=task.asked.attempt, held=True, body=True)
            holds = task.holds or "only_the_holder_ends" not in self.rules
            after = self.inbox.end(row, task.asked, outcome, holds=holds)
            if outcome.startswith("undone") and "second_lookup" not in self.rules:
                after = after._replace(row=after.row._replace(recheck=False, due=False))
            yield from self.did(s, after, f"{who} stores `{outcome}`")

    def outcomes_of(self, s: State, task: Task) -> tuple[str, ...]:
        if task.at == "refunded":
            return ("undone with reply",) if self.inbox.pins or self.gateway == "lookup" else ("undone",)
        if task.at != "answer lost":
            return (task.at,)
        if self.gateway == "lookup" and s.charged:
            return "charged", "lost"  # Asked at once, or there was no time left for it.
        return ("lost",)

    # --- what can go wrong besides copies and lost answers

    def faults(self, s: State) -> Iterator[Step]:
        less = s._replace(faults=s.faults - 1)
        for message in sorted(s.net):
            if message[0] in ("undo", "undone"):  # Lost commands and replies look like attempts that time out.
                yield "fault", f"Kafka loses the {message[0]}", less._replace(net=s.net - {message})
        for task in sorted(set(s.tasks)):
            after = swap(less, task)
            if task.at == "sent":
                after = after._replace(flights=s.flights + 1)
            yield "fault", f"the process of {task.asked.kind} (attempt {task.asked.attempt}) dies at `{task.at}`", after
        kept = s.row.held or s.row.due or s.row.state in ("absent", "retryable")
        if not (s.old or s.end or kept or s.op == "open" or self.on_its_way(s)):
            # Kafka keeps no command as long as the inbox's horizon: what is still on its way then is gone.
            kafka_kept = less._replace(net=frozenset(m for m in s.net if m[0] != "command"))
            yield "fault", "weeks pass, the row reaches its horizon and is purged", self.purged(self.later(kafka_kept))


def send(s: State, message: tuple[Any, ...]) -> State:
    return s._replace(net=s.net | {message})


def swap(s: State, task: Task, at: str | None = None) -> State:
    tasks = list(s.tasks)
    tasks.remove(task)
    if at is not None:
        tasks.append(task._replace(at=at))
    return s._replace(tasks=tuple(sorted(tasks)))


assert set(get_args(Gateway)) == set(GATEWAYS)
SUBJECT = Subject("M2 outcome", tuple(partial(OutcomeMachine, gateway=g) for g in GATEWAYS), RULES)
QUICK = Subject("M2 outcome, one fault", (lambda rules: OutcomeMachine(rules | {"one_fault"}, "key"),), RULES)
