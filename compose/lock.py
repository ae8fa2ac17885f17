"""Write a lock of jars: `sha256  group:artifact:version` for each root and for all that it needs.

Development only; needs Maven (`mvn`). Maven resolves the dependencies, the SHA-256 is computed here, and both are
committed: what a user's machine downloads is checked against this file and nothing else. A lock's first line names its
roots.

    python compose/lock.py org.apache.kafka:kafka_2.13:4.3.1 org.slf4j:slf4j-simple:1.7.36 > compose/kafka.lock

kafka_2.13 holds no binding for slf4j: without slf4j-simple the broker runs mute, also when it dies.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>amends</groupId><artifactId>lock</artifactId><version>1</version><dependencies>{}</dependencies></project>"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def resolve(folder: Path, roots: Sequence[str]) -> list[tuple[str, Path]]:
    """Return (coordinate, jar) of each root and of all that it needs at run time, in alphabetical order."""
    (folder / "pom.xml").write_text(POM.format("".join(DEPENDENCY.format(*root.split(":")) for root in roots)))
    command = ["mvn", "--quiet", "--batch-mode", "dependency:list", "-DincludeScope=runtime"]
    options = ["-DoutputFile=list.txt", "-DoutputAbsoluteArtifactFilename=true"]
    subprocess.run([*command, *options], cwd=folder, check=True, stdout=sys.stderr)
    rows = [line.split(":") for line in (folder / "list.txt").read_text().split() if line.count(":") == 5]
    return sorted((f"{group}:{name}:{version}", Path(jar)) for group, name, _, version, _, jar in rows)


def main(roots: Sequence[str]) -> None:
    """Print the lock; the roots stand in the first line, so that a reader sees where the rest comes from."""
    print(f"# Written by compose/lock.py from {' '.join(roots)}: sha256  group:artifact:version")
    with tempfile.TemporaryDirectory() as folder:
        for coordinate, jar in resolve(Path(folder), roots):
            print(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {coordinate}")


if __name__ == "__main__":
    main(sys.argv[1:])
