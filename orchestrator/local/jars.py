"""Fetch jars by a lock file: each is checked against its SHA-256 before it gets its name.

Maven's own tools trust a checksum that lies beside the file, and write in place; here an interrupted or altered
download never becomes a jar. The usual proxy variables and SSL_CERT_FILE are honoured (urllib does), and
MAVEN_REPOSITORY names another repository than Maven Central.
"""

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from orchestrator.errors import LocalStackError

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
DOWNLOADS_MAX = 8
ATTEMPTS_MAX = 3
TIMEOUT_S = 60.0
CHUNK_BYTES = 256 * 1024
PROGRESS_STEP_BYTES = 5_000_000

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def filename(self) -> str:
        """The name in the cache; it holds the group because two groups may share an artifact's name."""
        return f"{self.group}-{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Its place in a Maven repository."""
        folder = f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}"
        return f"{folder}/{self.artifact}-{self.version}.jar"


class JarNotFetched(LocalStackError):
    """A jar could not be downloaded, or is not the one that the lock names."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"{url}: {reason}. Nothing was kept of it. Check the network and the proxy settings, or name another "
            f"Maven repository in MAVEN_REPOSITORY, and run the same command again."
        )


def read_lock(text: str) -> list[Jar]:
    """Parse the lock; the order of its lines is the order of the class path."""
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return [Jar(sha256, *coordinate.split(":")) for sha256, coordinate in rows]


def missing(jars: Iterable[Jar], folder: Path) -> list[Jar]:
    """Return the jars that the folder does not hold."""
    return [jar for jar in jars if not (folder / jar.filename).exists()]


def fetch(
    jars: list[Jar], folder: Path, progress: Progress, *, repository: str | None = None, stopped: Event | None = None
) -> list[Path]:
    """Download what is missing and return the paths of all jars, in the order of the lock.

    Raise JarNotFetched, also soon after another thread has set `stopped`.
    """
    repository = repository or os.environ.get("MAVEN_REPOSITORY") or MAVEN_CENTRAL
    wanted = missing(jars, folder)
    folder.mkdir(parents=True, exist_ok=True)
    stopped = stopped or Event()
    with ThreadPoolExecutor(DOWNLOADS_MAX) as pool:
        sizes = pool.map(lambda jar: _fetch_one(jar, folder, repository, stopped), wanted)
        try:
            _report(sizes, len(wanted), progress)
        finally:
            stopped.set()  # One failed: the others need not end.
    return [folder / jar.filename for jar in jars]


def _report(sizes_bytes: Iterable[int], count: int, progress: Progress) -> None:
    """Say how far it is, once for every PROGRESS_STEP_BYTES."""
    fetched_bytes = said_bytes = 0
    for done, size_bytes in enumerate(sizes_bytes, start=1):
        fetched_bytes += size_bytes
        if fetched_bytes - said_bytes >= PROGRESS_STEP_BYTES or done == count:
            said_bytes = fetched_bytes
            progress(f"Kafka: {done} of {count} jars, {fetched_bytes / 1e6:.0f} MB")


def _fetch_one(jar: Jar, folder: Path, repository: str, stopped: Event) -> int:
    url = f"{repository.rstrip('/')}/{jar.path}"
    content = _download(url, stopped)
    if hashlib.sha256(content).hexdigest() != jar.sha256:
        raise JarNotFetched(url, "its SHA-256 is not the one in the lock file")
    part = folder / f"{jar.filename}.{os.getpid()}.part"  # The pid: two clones may fill the same cache at once.
    part.write_bytes(content)
    part.rename(folder / jar.filename)
    return len(content)


def _download(url: str, stopped: Event) -> bytes:
    """Every way in which it fails is an OSError (HTTP statuses too) or, when it breaks off, an HTTPException."""
    reason = ""
    for _ in range(ATTEMPTS_MAX):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
                return _read(response, stopped)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error)
    raise JarNotFetched(url, reason)


def _read(response: http.client.HTTPResponse, stopped: Event) -> bytes:
    """Read it piece by piece, so that a slow download can be stopped."""
    content = b""
    while piece := response.read(CHUNK_BYTES):
        content += piece
        if stopped.is_set():
            raise JarNotFetched(response.url, "the download was stopped")
    if response.length:  # What is still missing; read(amount) does not complain.
        raise http.client.IncompleteRead(content, response.length)
    return content
