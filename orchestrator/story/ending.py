"""How operations and undos end. Each once: whoever was told of an end is never told another."""

from orchestrator.story.model import Ended, Json, Operation, State, Story, UndoState


def end_operation(operation: Operation, state: State, at_us: int, ended: Ended) -> None:
    """It is over."""
    operation.state, operation.ended_us = state, at_us
    ended.operations.append(operation)


def end_tried(operation: Operation, at_us: int, ended: Ended) -> None:
    """It is over without a success. What it ended with is what its last attempt ended with, and when."""
    last = operation.attempts[-1] if operation.attempts else None
    if last is not None and last.ended_us is not None:
        at_us = last.ended_us
    elif not operation.error_type:
        operation.error_type, operation.error_text = "TimedOut", "no answer in time, or nobody waited for it any more"
    end_operation(operation, "unknown" if operation.in_doubt else "failed", at_us, ended)


def end_undo(operation: Operation, state: UndoState, at_us: int, ended: Ended) -> None:
    """Its undo is over."""
    assert operation.undo is not None
    operation.undo.state, operation.undo.ended_us = state, at_us
    ended.undos.append(operation)


def end_all(story: Story, ended: Ended) -> None:
    """The saga is over: what is still open was tried in vain, or nobody waited for it any more."""
    for operation in story.open_operations:
        tried = bool(operation.attempts) and operation.attempts[-1].ended_us is not None
        if tried:
            end_tried(operation, story.now_us, ended)
        else:
            end_operation(operation, "done" if operation.kind == "timeout" else "cancelled", story.now_us, ended)
    for operation in story.operations.values():
        if operation.undo is not None and operation.undo.ended_us is None:
            end_undo(operation, "left", story.now_us, ended)


def problem_text(problem: dict[str, Json]) -> str:
    """A problem in one line. A Failure's text begins with its class already."""
    text, type_name = str(problem.get("text", "")), str(problem.get("type", ""))
    return text if not type_name or text.startswith(type_name) else f"{type_name}: {text}" if text else type_name
