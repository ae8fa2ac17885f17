"""Ask a keeper in the background to kill, stop or start one of its services, and what state each is in.

    control = Control(Path("var"))
    await control.kill("relay", down_s=8)
    await control.services()

The keeper does it itself, and to its own children only: no pid passes from process to process, so none can have become
another's. It listens on a socket that only its user can open, var/run/keeper.sock. One line of JSON asks, one answers.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import LocalStackError
from orchestrator.local.keeper import Keeper, Seen
from orchestrator.local.paths import VarDir
from orchestrator.local.ports import replace_json

SOCKET_PATH_BYTES_MAX = 100  # the kernel's sun_path has 108, on macOS 104
LINE_BYTES_MAX = 64 * 1024
ANSWER_S = 5.0
DOWN_MAX_S = 60.0
VERBS = ("kill", "stop", "start")


class NotDone(LocalStackError):
    """The keeper would not do what it was asked, or is not there. Nothing was changed."""


class Control:
    """The keeper of one var directory, for another process of the same user."""

    def __init__(self, var: Path) -> None:
        self._var = VarDir(var.absolute())

    async def services(self) -> dict[str, Seen]:
        """Every service of the stack, by name. Raises NotDone."""
        answer = await self._ask({"do": "look"})
        return {row["name"]: Seen(**row) for row in answer["services"]}

    async def kill(self, name: str, down_s: float) -> None:
        """SIGKILL to it and its process group; the keeper starts it again after `down_s`. Raises NotDone."""
        await self._ask({"do": "kill", "name": name, "down_s": down_s})

    async def stop(self, name: str) -> None:
        """Ask it to end, and leave it down; returns before it has ended. Raises NotDone."""
        await self._ask({"do": "stop", "name": name})

    async def start(self, name: str) -> None:
        """Start what was stopped, or at once what waits to be restarted; returns before it is ready. Raises NotDone."""
        await self._ask({"do": "start", "name": name})

    async def _ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await self._exchange(json.dumps(question).encode() + b"\n")
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError, TimeoutError) as error:
            raise NotDone(
                f"no keeper in the background answers for {self._var.root} ({str(error) or 'no answer'}). Nothing was "
                f"changed. Is the stack up (`make up`)?"
            ) from error
        if "error" in answer:
            raise NotDone(f"{answer['error']}. Nothing was changed.")
        return answer

    async def _exchange(self, question: bytes) -> bytes:
        path = json.loads(self._var.control.read_text())["socket"]
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
        try:
            writer.write(question)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()


@asynccontextmanager
async def listening(var: VarDir, keeper: Keeper) -> AsyncIterator[None]:
    """Let the keeper be asked while the block runs; only one process does this for a directory, its owner."""
    desk = _Desk(keeper)
    folder, path = _socket_path(var)
    with _private_socket(path) as bound:
        server = await asyncio.start_unix_server(desk.serve, sock=bound, limit=LINE_BYTES_MAX)
        replace_json(var.control, {"socket": str(path)})
        try:
            yield
        finally:
            server.close()
            var.control.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            await desk.close()


def _socket_path(var: VarDir) -> tuple[Path | None, Path]:
    """A long path does not fit into a socket's address; it is then made elsewhere, in a folder of this user alone."""
    path = var.run / "keeper.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        return None, path
    folder = Path(tempfile.mkdtemp(prefix="amends-keeper-"))
    return folder, folder / "keeper.sock"


@contextlib.contextmanager
def _private_socket(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)  # Left by a keeper that was killed.
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        umask = os.umask(0o177)  # From its first moment nobody else can open it.
        try:
            bound.bind(str(path))
        finally:
            os.umask(umask)
        yield bound
    finally:
        bound.close()


class _Desk:
    """The keeper's side."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question, one answer."""
        with contextlib.suppress(OSError, TimeoutError, ValueError), contextlib.closing(writer):
            async with asyncio.timeout(ANSWER_S):
                line = await reader.readline()
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()

    async def close(self) -> None:
        """Whoever closes this ends all services next: a start is broken off, a stop goes on to its end."""
        for name, task in self._tasks.items():
            if self._keeper.states[name] != "stopping":
                task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _answer(self, line: bytes) -> Mapping[str, object]:
        try:
            question = json.loads(line)
            verb, name = question["do"], question.get("name")
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": "the question is no JSON object with a `do`"}
        services = {one.name: one for one in self._keeper.seen()}
        if verb == "look":
            return {"services": [asdict(one) for one in services.values()]}
        if verb not in VERBS:
            return {"error": f"{verb!r} is none of look, {', '.join(VERBS)}"}
        if name not in services:
            return {"error": f"there is no service {name!r}; there are {', '.join(services)}"}
        refused = self._do(verb, services[name], question.get("down_s", 0))
        return {} if refused is None else {"error": f"{name} {refused}"}

    def _do(self, verb: str, service: Seen, down_s: Any) -> str | None:
        """Begin it; return why not."""
        name, state = service.name, service.state
        if (busy := self._tasks.get(name)) is not None and not busy.done():
            return f"is {state} already"
        match verb, state:
            case "kill", "ready" | "starting":
                if not isinstance(down_s, int | float) or not 0 <= down_s <= DOWN_MAX_S:
                    return f"can be down for 0 to {DOWN_MAX_S:.0f} s"
                self._keeper.kill(name, float(down_s))
            case "stop", "ready" | "starting" | "waiting to restart":
                self._begin(name, self._stop(name))
            case "start", "waiting to restart":
                self._keeper.hurry(name)
            case "start", "stopped":
                self._begin(name, self._start(name))
            case _:
                return f"is {state}: it can't be told to {verb}"
        return None

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = asyncio.create_task(work)

    async def _stop(self, name: str) -> None:
        await self._keeper.stop(name)

    async def _start(self, name: str) -> None:
        """One that does not come up is left down; its log says why."""
        try:
            await self._keeper.start_again(name)
        except (LocalStackError, OSError):
            await self._keeper.stop(name)
