"""A schema registry of our own on loopback: Confluent's REST API, as far as clients of ours and of others use it.

It can be away (nobody listens), slow, broken (500), closed to us (401), and it may come back on the same port with what
it knew, or with nothing, as a registry that was set up anew.
"""

import json
import socket
import threading
from collections import Counter
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.deadlines import eventually


class SchemaRegistry:
    """`trouble`: None, 500, 401, "slow" (reads, and answers when `release` is set) or "page" (a proxy's 404)."""

    def __init__(self) -> None:
        self.schemas: dict[int, str] = {}
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self.trouble: int | str | None = None
        self.release = threading.Event()
        self.asked: Counter[str] = Counter()  # "GET /schemas/ids/1" -> how often
        self.password: str | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(
            _Guard(self), host="127.0.0.1", port=self.port, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = server = uvicorn.Server(config)
        self._thread = threading.Thread(target=server.run, daemon=True)
        self._thread.start()
        eventually(lambda: server.started, 20, "the schema registry listens")

    def stop(self) -> None:
        if self._server is None:
            return
        self.release.set()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the schema registry has not stopped"
        self._server = None

    def lose_all(self) -> None:
        self.schemas.clear()
        self.subjects.clear()
        self.levels.clear()

    def add(self, subject: str, schema: Any) -> int:
        """Register, as somebody else would; the id."""
        text = json.dumps(schema)
        known = [number for number, one in self.schemas.items() if json.loads(one) == schema]
        number = known[0] if known else max(self.schemas, default=100) + 1
        self.schemas[number] = text
        if number not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(number)
        return number

    # --- the API

    def by_id(self, request: Request) -> Response:
        number = request.path_params["number"]
        return JSONResponse({"schema": self.schemas[number]}) if number in self.schemas else _no(40403, "Schema")

    def versions(self, request: Request) -> Response:
        found = self.subjects.get(request.path_params["subject"])
        return JSONResponse(list(range(1, len(found) + 1))) if found else _no(40401, "Subject")

    def version(self, request: Request) -> Response:
        subject, number = request.path_params["subject"], request.path_params["number"]
        found = self.subjects.get(subject, [])
        return self._registered(subject, found[number - 1]) if 0 < number <= len(found) else _no(40402, "Version")

    async def look_up(self, request: Request) -> Response:
        subject, schema = request.path_params["subject"], json.loads((await request.json())["schema"])
        if subject not in self.subjects:
            return _no(40401, "Subject")
        found = [one for one in self.subjects[subject] if json.loads(self.schemas[one]) == schema]
        return self._registered(subject, found[0]) if found else _no(40403, "Schema")

    async def register(self, request: Request) -> Response:
        subject, schema = request.path_params["subject"], json.loads((await request.json())["schema"])
        if not self._is_compatible(subject, schema):
            return JSONResponse({"error_code": 409, "message": "Schema being registered is incompatible"}, 409)
        return JSONResponse({"id": self.add(subject, schema)})

    async def compatibility(self, request: Request) -> Response:
        subject, schema = request.path_params["subject"], json.loads((await request.json())["schema"])
        return JSONResponse({"is_compatible": self._is_compatible(subject, schema)})

    async def config(self, request: Request) -> Response:
        subject = request.path_params["subject"]
        if request.method == "PUT":
            self.levels[subject] = (await request.json())["compatibility"]
            return JSONResponse({"compatibility": self.levels[subject]})
        level = self.levels.get(subject)
        return JSONResponse({"compatibilityLevel": level}) if level else _no(40408, "Subject's compatibility")

    def _registered(self, subject: str, number: int) -> Response:
        version = self.subjects[subject].index(number) + 1
        return JSONResponse({"subject": subject, "id": number, "version": version, "schema": self.schemas[number]})

    def _is_compatible(self, subject: str, schema: Any) -> bool:
        """By levels as Confluent has them, for what a record's fields may show."""
        level = self.levels.get(subject, "BACKWARD")
        older = [json.loads(self.schemas[number]) for number in self.subjects.get(subject, [])]
        older = older if level.endswith("TRANSITIVE") else older[-1:]
        backward = level.startswith(("BACKWARD", "FULL"))
        forward = level.startswith(("FORWARD", "FULL"))
        return all(
            (not backward or _can_read(schema, one)) and (not forward or _can_read(one, schema)) for one in older
        )


def _can_read(reader: Any, writer: Any) -> bool:
    if not (isinstance(reader, dict) and isinstance(writer, dict)):
        return reader == writer or (reader, writer) == ("double", "long")
    written = {field["name"]: field["type"] for field in writer.get("fields", ())}
    return all(
        _can_read(field["type"], written[field["name"]]) if field["name"] in written else "default" in field
        for field in reader.get("fields", ())
    )


def _no(code: int, what: str) -> Response:
    return JSONResponse({"error_code": code, "message": f"{what} not found"}, 404)


class _Guard:
    """Counts, and stands before the API while there is trouble."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self.registry = registry
        self.app = Starlette(
            routes=[
                Route("/schemas/ids/{number:int}", registry.by_id),
                Route("/subjects/{subject}/versions", registry.versions, methods=["GET"]),
                Route("/subjects/{subject}/versions", registry.register, methods=["POST"]),
                Route("/subjects/{subject}/versions/{number:int}", registry.version),
                Route("/subjects/{subject}", registry.look_up, methods=["POST"]),
                Route("/compatibility/subjects/{subject}/versions", registry.compatibility, methods=["POST"]),
                Route("/config/{subject}", registry.config, methods=["GET", "PUT"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        registry = self.registry
        registry.asked[f"{scope['method']} {scope['path']}"] += 1
        headers = dict(scope["headers"])
        app: Any = self.app
        if registry.trouble == "slow":
            import anyio

            await anyio.to_thread.run_sync(registry.release.wait, abandon_on_cancel=True)
        elif registry.trouble == "page":
            app = PlainTextResponse("<html>no such page</html>", 404)
        elif isinstance(registry.trouble, int):
            app = JSONResponse({"error_code": registry.trouble * 100, "message": "trouble"}, registry.trouble)
        if registry.password is not None and not _knows(registry.password, headers.get(b"authorization", b"")):
            app = JSONResponse({"error_code": 401, "message": "Unauthorized"}, 401)
        await app(scope, receive, send)


def _knows(password: str, header: bytes) -> bool:
    import base64

    return header == b"Basic " + base64.b64encode(password.encode())
