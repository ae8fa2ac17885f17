"""What one snapshot of Postgres shows, by transaction.

The replication stream may tell of a commit before any SELECT shows it: the commit record is in the WAL while its
backend still waits (for a synchronous replica: for seconds). So the relay asks a snapshot before it relies on it.
"""

from dataclasses import dataclass

from outbox_relay.postgres import Session

_HALF = 1 << 31
_MASK = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pg_current_snapshot()`: ids from `xmax` on, and those `running`, are not shown. 64 bits each."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read the text form, `xmin:xmax:running,running`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(",") if running else ())))

    def shows(self, xid: int) -> bool:
        """Tell whether a transaction that is known to have committed is visible. `xid`: 32 bits, as in the stream."""
        ahead = (xid - self.xmax) & _MASK
        if ahead < _HALF:
            return False
        return self.xmax - ((self.xmax - xid) & _MASK) not in self.running


def current(session: Session) -> Snapshot:
    """What is visible now."""
    [(text,)] = session.execute("SELECT pg_current_snapshot()::text").fetchall()
    return Snapshot.parse(text)
