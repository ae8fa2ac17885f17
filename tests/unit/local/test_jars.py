"""No jar gets its name before its SHA-256 was seen to be right; everything against a real HTTP server."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from orchestrator.local import kafka
from orchestrator.local.jars import Jar, JarNotFetched, fetch, missing, read_lock


@dataclass
class Repository:
    """A Maven repository with a memory: what it holds, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    truncated: bool = False
    url: str = ""

    def add(self, artifact: str, content: bytes) -> Jar:
        jar = Jar(hashlib.sha256(content).hexdigest(), "org.example", artifact, "1.0")
        self.files[f"/{jar.path}"] = content
        return jar


@pytest.fixture
def repository() -> Iterator[Repository]:
    state = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = state.files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: 3 if state.truncated else None])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def test_jars_come_in_the_order_of_the_lock_and_only_once(repository: Repository, tmp_path: Path) -> None:
    jars = [repository.add(f"part{n}", f"content {n}".encode()) for n in range(20)]
    said: list[str] = []
    paths = fetch(jars, tmp_path, said.append, repository=repository.url)
    assert [path.read_bytes() for path in paths] == [f"content {n}".encode() for n in range(20)]
    assert "20 of 20" in said[-1]
    assert fetch(jars, tmp_path, said.append, repository=repository.url) == paths
    assert len(repository.asked) == 20


def test_a_jar_with_another_sha256_is_not_kept(repository: Repository, tmp_path: Path) -> None:
    jar = repository.add("altered", b"what the lock names")
    repository.files[f"/{jar.path}"] = b"something else"
    with pytest.raises(JarNotFetched, match=r"altered-1.0.jar: its SHA-256 is not the one in the lock"):
        fetch([jar], tmp_path, print, repository=repository.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("truncated", [True, False])
def test_a_jar_that_does_not_come_whole_is_asked_for_again_and_not_kept(
    repository: Repository, tmp_path: Path, truncated: bool
) -> None:
    jar = repository.add("absent", b"a longer content")
    repository.truncated = truncated
    if not truncated:
        repository.files.clear()
    with pytest.raises(JarNotFetched, match="MAVEN_REPOSITORY"):
        fetch([jar], tmp_path, print, repository=repository.url)
    assert missing([jar], tmp_path) == [jar]
    assert len(repository.asked) == 3


def test_a_download_can_be_stopped(repository: Repository, tmp_path: Path) -> None:
    jars = [repository.add(f"part{n}", b"content") for n in range(20)]
    stopped = Event()
    stopped.set()
    with pytest.raises(JarNotFetched, match="the download was stopped"):
        fetch(jars, tmp_path, print, repository=repository.url, stopped=stopped)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_another_repository(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAVEN_REPOSITORY", repository.url + "/")
    fetch([repository.add("any", b"content")], tmp_path, print)
    assert len(repository.asked) == 1


def test_the_lock_names_the_broker_and_a_voice_for_it() -> None:
    jars = read_lock(kafka.package_text("kafka.lock"))
    names = {jar.artifact for jar in jars}
    assert {"kafka_2.13", "slf4j-simple"} <= names
    assert len({jar.filename for jar in jars}) == len(jars) == 46
    assert all(len(jar.sha256) == 64 for jar in jars)
