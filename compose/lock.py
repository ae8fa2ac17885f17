"""Write compose/kafka.lock: `sha256  group:artifact:version` for every jar of the Kafka broker.

Development only; needs Maven (`mvn`). Maven resolves the dependencies, the SHA-256 is computed here, and both are
committed: what a user's machine downloads is checked against this file and nothing else.

    python compose/lock.py > compose/kafka.lock
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

# kafka_2.13 holds no binding for slf4j: without slf4j-simple the broker runs mute, also when it dies.
ROOTS = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>amends</groupId><artifactId>lock</artifactId><version>1</version><dependencies>{}</dependencies></project>"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def resolve(folder: Path) -> list[tuple[str, Path]]:
    """Return (coordinate, jar) of each root and of all that it needs at run time, in alphabetical order."""
    (folder / "pom.xml").write_text(POM.format("".join(DEPENDENCY.format(*root.split(":")) for root in ROOTS)))
    command = ["mvn", "--quiet", "--batch-mode", "dependency:list", "-DincludeScope=runtime"]
    options = ["-DoutputFile=list.txt", "-DoutputAbsoluteArtifactFilename=true"]
    subprocess.run([*command, *options], cwd=folder, check=True, stdout=sys.stderr)
    rows = [line.split(":") for line in (folder / "list.txt").read_text().split() if line.count(":") == 5]
    return sorted((f"{group}:{name}:{version}", Path(jar)) for group, name, _, version, _, jar in rows)


def main() -> None:
    """Print the lock; the roots stand in the first line, so that a reader sees where the rest comes from."""
    print(f"# Written by compose/lock.py from {' '.join(ROOTS)}: sha256  group:artifact:version")
    with tempfile.TemporaryDirectory() as folder:
        for coordinate, jar in resolve(Path(folder)):
            print(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {coordinate}")


if __name__ == "__main__":
    main()
