"""What a process of a participant has done since it began, in plain numbers.

Its event loop adds to them after each commit; whoever exports them reads from another thread. They are for people.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from outbox_relay import Row

COMMAND_RESULTS = ("succeeded", "failed", "retry", "conflict")
UNDO_RESULTS = ("undone", "failed", "retry")


@dataclass(slots=True)
class Counts:
    """`commands` and `undos` count answers, also those that the inbox gave again, by what they say."""

    batches: int = 0
    commands: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMMAND_RESULTS, 0))
    undos: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNDO_RESULTS, 0))
    calls: dict[str, int] = field(default_factory=dict)  # calls out, by how they ended: Succeeded, Lost …

    def committed(self, rows: Iterable[Row]) -> None:
        """These rows went into the outbox with a transaction that has just been committed."""
        self.batches += 1
        for row in rows:
            match row.headers.get("kind"):
                case "reply":
                    self.commands[row.headers["outcome"]] += 1
                case "undone":
                    self.undos[row.headers["outcome"]] += 1

    def called(self, outcome: object) -> None:
        """A call out came to this end."""
        name = type(outcome).__name__
        self.calls[name] = self.calls.get(name, 0) + 1
