"""A planted bug: which rule it breaks, and the text that stands in the code in place of the right one."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands exactly once in `file`. `needs_servers`: it is found with a real Postgres, or Kafka too."""

    rule: int
    name: str
    file: str
    old: str
    new: str
    needs_servers: bool = False

    def __str__(self) -> str:
        return f"rule_{self.rule:02}_{self.name}"

    def applied(self, root: Path = ROOT) -> str:
        """The file's text with the bug in it. Raises MutantOutdated."""
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        if (count := text.count(self.old)) != 1:
            raise MutantOutdated(self, count)
        return text.replace(self.old, self.new)


class MutantOutdated(Exception):
    """The code has moved on: the mutant has to follow, or it would prove nothing."""

    def __init__(self, mutant: Mutant, count: int) -> None:
        super().__init__(
            f"mutant {mutant}: the text that it replaces stands {count} times in {mutant.file}, not once. "
            f"Find what breaks rule {mutant.rule} in the code as it is now and change `old` in tests/mutants:\n"
            f"{mutant.old}"
        )
