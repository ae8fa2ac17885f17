"""Trace and span ids as functions of who a saga is and which operation it is at: the same at every replay.

W3C Trace Context: `00-<trace id, 32 hex>-<span id, 16 hex>-01`. A saga that was started inside a trace stays in it.
"""

import hashlib

from orchestrator.engine.sagas import SagaRow


def trace_id(saga: SagaRow) -> str:
    """The caller's trace if the start carried one, otherwise made of the saga's uid."""
    given = (saga.traceparent or "").split("-")
    if len(given) == 4 and len(given[1]) == 32:
        return given[1]
    return _hex(f"{saga.uid}", 16)


def span_id(saga: SagaRow, part: str) -> str:
    """The span of one part of a saga: `root`, an operation's seq, or `3:undo`."""
    return _hex(f"{saga.uid}:0:{part}", 8)


def operation_traceparent(saga: SagaRow, seq: int) -> str:
    """What travels with a command: whoever handles it continues the operation's span."""
    return f"00-{trace_id(saga)}-{span_id(saga, str(seq))}-01"


def _hex(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
