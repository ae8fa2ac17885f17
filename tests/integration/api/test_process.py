"""`amends api` as a process: real uvicorn, real sockets, ended by SIGTERM."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from orchestrator.api import limits
from tests.deadlines import deadline
from tests.roles import as_role

COMMAND = (sys.executable, "-m", "orchestrator.cli")


@contextmanager
def serving(url: str, *options: str, **environment: str) -> Iterator[str]:
    """The URL of an API that runs; it ends well at SIGTERM."""
    command = [*COMMAND, "api", "--port", "0", *options]
    used = {**os.environ, "DATABASE_URL": as_role(url, "person"), **environment}
    with subprocess.Popen(command, env=used, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            found = re.search(r"listens on (http://\S+)/v1", said)
            assert found, said + process.stderr.read()
            yield found[1]
            process.terminate()
            assert process.wait(deadline(20)) == 0
        finally:
            process.kill()


def test_it_serves_this_machine_alone_without_a_token(database_url: str) -> None:
    with serving(database_url) as base, httpx.Client(base_url=base) as asks:
        assert asks.get("/v1/health").json() == {"status": "ok"}
        assert asks.put("/v1/sagas/order%2F7", json={"type": "checkout"}).status_code == 201
        assert asks.get("/v1/sagas/order%2F7").json()["id"] == "order/7"
        rebound = asks.get("/v1/sagas", headers={"Host": "evil.example"})
        assert rebound.status_code == 403
        assert asks.get("/v1/sagas", headers={"X-Forwarded-For": "10.0.0.7"}).status_code == 403
        assert "server" not in rebound.headers
        assert asks.get("/v1/sagas", headers={"X-Long": "x" * limits.HEAD_BYTES_MAX}).status_code == 431
        given = asks.post("/v1/sagas/order%2F7/verbs", json={"verb": "cancel"})
        [verb] = asks.get("/v1/sagas/order%2F7/verbs").json()["verbs"]
        assert (given.status_code, verb["given_by"].rpartition("/")[2]) == (202, "local")


def test_with_a_token_it_serves_whoever_has_it(database_url: str) -> None:
    made = subprocess.run([*COMMAND, "api", "token", "ada", "operate"], capture_output=True, text=True, check=True)
    text, line = made.stdout.split()
    with serving(database_url, "--host", "0.0.0.0", AMENDS_API_TOKENS=line) as base:
        base = base.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{base}/v1/sagas").status_code == 401
        answer = httpx.get(f"{base}/v1/sagas", headers={"Authorization": f"Bearer {text}"})
        assert answer.json() == {"sagas": [], "next_cursor": None}
