"""The traceparent of what a saga sends: `tracing.ids`, for the rows of the engine."""

from orchestrator.engine.sagas import SagaRow
from orchestrator.tracing import ids


def operation_traceparent(saga: SagaRow, seq: int) -> str:
    """What travels with a command: whoever handles it continues the operation's span."""
    return ids.header(saga.uid, saga.traceparent, str(seq))


def undo_traceparent(saga: SagaRow, seq: int) -> str:
    """What travels with an undo: a span of its own, linked to the operation's."""
    return ids.header(saga.uid, saga.traceparent, ids.undo_part(seq))
