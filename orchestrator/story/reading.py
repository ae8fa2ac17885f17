"""Read a journal turn by turn: the entry that came in, then what was decided.

An entry that names its operation can only wake that one: if anything was decided behind it, the operation is over
(or is tried again, and then that is what was decided). What no entry names is the matter of `inference`.
"""

from collections.abc import Iterable, Sequence

from orchestrator.story import inference
from orchestrator.story.ending import end_all, end_operation, end_tried, end_undo, problem_text
from orchestrator.story.model import Attempt, Body, Ended, Json, Mark, Operation, Story, TakenBack, Undo

Line = dict[str, Json]


def read_story(bodies: Iterable[Body]) -> Story:
    """The story of a journal, from its first row on. Lines that only a newer version knows are passed over."""
    story = Story()
    for body in bodies:
        advance(story, body)
    return story


def advance(story: Story, body: Body) -> Ended:
    """Tell the next turn. Returns what came to its end with it."""
    ended = Ended()
    if not body:
        return ended
    entry, decisions = body[0], body[1:]
    story.turns += 1
    story.now_us = max(story.now_us, int(entry.get("at", 0)))
    _enter(story, entry, decisions, ended)
    for decision in decisions:
        _decide(story, decision, ended)
    return ended


def end_unseen(story: Story, *, at_us: int, error_type: str, error_text: str) -> Ended:
    """A saga was ended by force, without a turn: it is blocked, or had not begun. The journal has no line for that."""
    ended = Ended()
    story.now_us = max(story.now_us, at_us)
    story.started_us = story.now_us if story.started_us is None else story.started_us
    line = {"op": "finish", "name": "terminated", "problem": {"type": error_type, "text": error_text}}
    _decide(story, line, ended)
    return ended


# --- what came in


def _enter(story: Story, entry: Line, decisions: Sequence[Line], ended: Ended) -> None:
    match entry.get("in"):
        case "started":
            story.started_us = story.now_us
        case "replied" | "step_ended":
            _answered(story, entry, decisions, ended)
        case "undo_replied":
            if (operation := story.operations.get(int(entry["seq"]))) is not None:
                _undo_answered(story, operation, entry, str(entry.get("outcome", "")), decisions, ended)
        case "message":
            type_name, channel = str(entry.get("type", "")), str(entry.get("channel", ""))
            _mark(story, "message", f"{type_name} on {channel}" if channel else type_name)
            inference.message_came(story, type_name, channel, ended)
        case "verb":
            _verb(story, entry, decisions, ended)
        case "undo_requested":
            _mark(story, "undo requested", str(entry.get("key", "")))
            if story.taken_back is None:
                story.taken_back = TakenBack(str(entry.get("key", "")), story.now_us)
        case "timer":
            inference.timer_fired(story, decisions, ended)
        case _:
            pass  # an entry of a later version


def _answered(story: Story, entry: Line, decisions: Sequence[Line], ended: Ended) -> None:
    seq, outcome, problem = int(entry["seq"]), str(entry.get("outcome", "succeeded")), entry.get("problem") or {}
    undone = story.undoing_steps.get(seq)
    operation = story.operations.get(seq if undone is None else undone)
    if operation is None:
        return
    if undone is not None:
        word = "undone" if outcome == "succeeded" else "retry"
        _undo_answered(story, operation, entry, word, decisions, ended)
        return
    if not operation.is_open:
        _late(story, operation, outcome)
        return
    attempt = attempt_numbered(operation.attempts, int(entry.get("attempt", 1)), operation.begun_us)
    attempt.ended_us, attempt.outcome, attempt.text = story.now_us, outcome, problem_text(problem)
    if outcome == "succeeded":
        end_operation(operation, "succeeded", story.now_us, ended)
        return
    operation.error_type, operation.error_text = str(problem.get("type", "")), str(problem.get("text", ""))
    if _leaves_in_doubt(operation, problem):
        attempt.in_doubt = operation.in_doubt = True
    if _is_final(entry, problem) or _led_on(operation, decisions):
        if _sticks(decisions):
            operation.stuck = True
        else:
            end_tried(operation, story.now_us, ended)


def _leaves_in_doubt(operation: Operation, problem: Line) -> bool:
    """A transaction was rolled back, whatever is said of it."""
    return operation.kind != "transaction" and problem.get("effect", "unknown") == "unknown"


def _is_final(entry: Line, problem: Line) -> bool:
    """A participant's `failed` is its last word, a Failure is nobody's to repeat."""
    return entry.get("outcome") == "failed" or problem.get("kind") == "failure"


def _led_on(operation: Operation, decisions: Sequence[Line]) -> bool:
    return bool(decisions) and not any(d.get("seq") == operation.seq for d in decisions)


def _sticks(decisions: Sequence[Line]) -> bool:
    return any(d.get("op") == "status" and d.get("name") == "stuck" for d in decisions)


def _late(story: Story, operation: Operation, outcome: str) -> None:
    if outcome == "succeeded" and operation.undo is not None and operation.undo.ended_us is None:
        operation.undo.late_us = story.now_us
    else:
        _mark(story, "late answer", f"{operation.title}: {outcome}")


def _undo_answered(
    story: Story, operation: Operation, entry: Line, outcome: str, decisions: Sequence[Line], ended: Ended
) -> None:
    undo = operation.undo
    if undo is None or undo.ended_us is not None:
        return
    attempt = attempt_numbered(undo.attempts, int(entry.get("attempt", 1)), story.now_us)
    attempt.ended_us, attempt.outcome = story.now_us, outcome
    problem = entry.get("problem") or {}
    attempt.text = problem_text(problem)
    attempt.in_doubt = outcome == "retry" and _leaves_in_doubt(operation, problem)
    if outcome == "undone":
        end_undo(operation, "undone", story.now_us, ended)
    elif outcome == "failed" or _sticks(decisions):
        undo.state = "failed"  # A person is asked: it may still be undone, or left.


def _verb(story: Story, entry: Line, decisions: Sequence[Line], ended: Ended) -> None:
    verb, note = str(entry.get("verb", "")), str(entry.get("note", ""))
    _mark(story, "verb", f"{verb}: {note}" if note else verb)
    if verb not in ("retry", "skip"):
        return
    again = {int(d["seq"]) for d in decisions if "seq" in d and d.get("op") in ("call", "step", "transaction", "child")}
    for operation in list(story.operations.values()):
        if operation.stuck and operation.is_open:
            operation.stuck = False
            if verb == "skip" or operation.seq not in again:  # It is tried again under a new key, as another one.
                end_tried(operation, story.now_us, ended)
        if verb == "skip" and operation.undo is not None and operation.undo.state == "failed":
            operation.undo.note = note
            end_undo(operation, "left", story.now_us, ended)


# --- what was decided


def _decide(story: Story, decision: Line, ended: Ended) -> None:
    op = str(decision.get("op", ""))
    match op:
        case "call" | "child" | "step" | "transaction":
            _begin_attempt(story, decision, op, ended)
        case "undo" | "undo_child":
            _begin_undo(story, int(decision["undo_of"]), decision, ended)
        case "receive" | "sleep" | "timeout":
            inference.begin_wait(story, int(decision["seq"]), op, str(decision.get("name", "")), ended)
        case "start" | "send" | "publish" | "set":
            _write(story, decision, op, ended)
        case "pivot":
            story.pivot_seq = int(decision["seq"]) if "seq" in decision else story.pivot_seq
            _mark(story, "pivot", "from here on only forward")
        case "status":
            story.status, reason = str(decision.get("name", "")), str(decision.get("reason", ""))
            if story.status == "compensating" and reason:  # it goes on with that after it was stuck, too
                story.undone_because = _said_once(reason)
            _mark(story, "status", f"{story.status}: {reason}" if reason else story.status)
        case "finish":
            _finish(story, decision, ended)
        case "answer_undo":
            if story.taken_back is not None and story.taken_back.ended_us is None:
                story.taken_back.ended_us = story.now_us
                story.taken_back.outcome = str(decision.get("outcome", ""))
                ended.taken_back = True
        case _:
            pass  # settle is the runtime's; the rest is of a later version


def _begin_attempt(story: Story, decision: Line, op: str, ended: Ended) -> None:
    seq, number = int(decision["seq"]), int(decision.get("attempt", 1))
    if (undone := decision.get("undo_of")) is not None:
        story.undoing_steps[seq] = int(undone)
        _begin_undo(story, int(undone), decision, ended)
        return
    operation = story.operations.get(seq)
    if operation is None:
        operation = story.operations[seq] = Operation(
            seq,
            op,
            str(decision.get("name", "")),
            story.now_us,
            service=str(decision.get("service", "")),
            id=str(decision.get("id", "")),
            body=decision.get("body"),
        )
    attempt_numbered(operation.attempts, number, story.now_us)


def _begin_undo(story: Story, seq: int, decision: Line, ended: Ended) -> None:
    operation = story.operations.get(seq)
    if operation is None:
        return
    if operation.is_open:
        # Nobody knows how it went, and nobody waits for it any more: it timed out, or was cancelled.
        operation.in_doubt = True
        end_tried(operation, story.now_us, ended)
    if operation.undo is None:
        name = str(decision.get("name", "")) or operation.name
        operation.undo = Undo(name, story.now_us, known=str(decision.get("known", "")))
    if operation.undo.ended_us is None:
        operation.undo.state = "open"
        attempt_numbered(operation.undo.attempts, int(decision.get("attempt", 1)), story.now_us)


def _write(story: Story, decision: Line, op: str, ended: Ended) -> None:
    if int(decision["seq"]) in story.operations:
        return
    operation = Operation(
        int(decision["seq"]),
        op,
        str(decision.get("key" if op == "set" else "name", "")),
        story.now_us,
        id=str(decision.get("id", "")),
        channel=str(decision.get("channel", "")),
        topic=str(decision.get("topic", "")),
        body=decision.get("value" if op == "set" else "body"),
    )
    story.operations[operation.seq] = operation
    end_operation(operation, "done", story.now_us, ended)


def _finish(story: Story, decision: Line, ended: Ended) -> None:
    name, problem = str(decision.get("name", "")), decision.get("problem") or {}
    left = tuple(str(one) for one in decision.get("left_undone", ()))
    text = problem_text(problem)
    listed = f"; left undone: {', '.join(left)}" if left else ""
    _mark(story, "end", f"{name}{': ' + text if text else ''}{listed}")
    end_all(story, ended)
    story.status, story.left_undone = name, left
    if story.ended_us is None:
        story.ended_us, story.end = story.now_us, name
        story.error_type, story.error_text = str(problem.get("type", "")), str(problem.get("text", ""))
        ended.root = True


# --- small things


def attempt_numbered(attempts: list[Attempt], number: int, at_us: int) -> Attempt:
    """The attempt of that number: known, or begun now."""
    for found in reversed(attempts):  # it is mostly the last one
        if found.number == number:
            return found
    begun = Attempt(number, at_us)
    attempts.append(begun)
    return begun


def _said_once(reason: str) -> str:
    """`type: text`, of which a Failure's text begins with its type."""
    type_name, _, text = reason.partition(": ")
    return text if text.startswith(type_name) else reason


def _mark(story: Story, kind: str, text: str) -> None:
    story.marks.append(Mark(story.now_us, kind, text))
