"""The identity of an operation: `saga_uid:run:seq`.

saga_uid is minted by us (never just the user's id), run rises with continue-as, rewind and fork (0 until then), seq
counts in creation order. The key never changes over retries, replays, restarts or takeovers, and no two different
requests ever share one. An undo goes under the key of what it undoes, with `:undo` behind it where a gateway sees it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OperationKey:
    saga_uid: str
    run: int
    seq: int

    def __str__(self) -> str:
        return operation_key(self.saga_uid, self.run, self.seq)

    @staticmethod
    def parse(text: str) -> "OperationKey":
        """Raises ValueError for what is no operation key."""
        saga_uid, run, seq = text.rsplit(":", 2)
        return OperationKey(saga_uid, int(run), int(seq))


def operation_key(saga_uid: str, run: int, seq: int) -> str:
    """The key as text."""
    return f"{saga_uid}:{run}:{seq}"


@dataclass(frozen=True, slots=True)
class SagaIdentity:
    """Who a saga is. `id` is the author's, `uid` ours; `shard` is fixed at the start.

    A child has a `parent_id`: its undo stack lives on after it is completed (rule 11), so it settles nothing then.
    """

    id: str
    uid: str
    type: str
    version: int
    shard: int
    run: int = 0
    parent_id: str | None = None
    trace_id: str = ""  # of its spans and log lines; empty where nobody traces

    @property
    def log_fields(self) -> dict[str, str]:
        """What each log line of the saga carries beside its words."""
        fields = {"saga_id": self.id, "saga_type": self.type}
        return fields | {"trace_id": self.trace_id} if self.trace_id else fields

    def key(self, seq: int) -> str:
        """The operation key of this saga's operation `seq`."""
        return operation_key(self.uid, self.run, seq)
