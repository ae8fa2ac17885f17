"""The HTTP API as a process, its document, and tokens for it."""

import json
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import logs
from orchestrator.cli import exits, output
from orchestrator.cli.context import CONTEXT, AppOption, AsJson, wants_json
from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from orchestrator.settings import Settings

PORT_DEFAULT = 8_787

app = typer.Typer(invoke_without_command=True)


def add_to(above: typer.Typer) -> None:
    """Register this group's commands."""
    app.callback(help=api.__doc__)(api)
    app.command("token")(token)
    above.add_typer(app, name="api")


def api(
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", help="The address it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0: any that is free.")] = PORT_DEFAULT,
    target: AppOption = None,
    openapi: Annotated[bool, typer.Option("--openapi", help="Only print its document (OpenAPI 3.1).")] = False,
) -> None:
    """Serve the HTTP API until SIGTERM.

    On this machine alone; elsewhere only with tokens (AMENDS_API_TOKENS). With --app inputs are checked by the code. It
    needs the extra amends[api].

    Example: amends api --app shop.app:app --port 8787
    """
    if context.invoked_subcommand is not None:
        return
    if openapi:
        from orchestrator.api.application import document

        print(json.dumps(document(), indent=2))
        return
    from orchestrator.loading import load_app

    settings = CONTEXT.settings()
    loaded = load_app(target) if target else None
    try:
        import uvicorn  # noqa: F401

        from orchestrator.api import create_api
    except ModuleNotFoundError as error:
        raise DependencyError(f"the HTTP API needs {error.name}: pip install 'amends[api]'") from None
    _refuse_strangers(settings, host)
    logs.adopt_structlog()
    _serve(create_api(settings, app=loaded), host, port)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; it stands in the audit.")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="read, or operate.")],
    as_json: AsJson = False,
) -> None:
    """Make a token for the HTTP API.

    It is shown once and stored nowhere; the line goes into AMENDS_API_TOKENS.

    Example: amends api token ada operate
    """
    from orchestrator.api.tokens import line_of, make_token

    text, made = make_token(name, role)
    if wants_json(as_json):
        output.print_json({"token": text, "line": line_of(made)})
        return
    print(text)
    print(line_of(made))
    output.say("the first line is the token, for its owner; the second goes into AMENDS_API_TOKENS")


def _refuse_strangers(settings: "Settings", host: str) -> None:
    """Nothing listens where others can reach it without a token."""
    from orchestrator.api.loopback import is_loopback
    from orchestrator.api.tokens import parse_tokens

    if not parse_tokens(settings.api_tokens) and not is_loopback(host):
        raise DependencyError(
            f"--host {host} is reached from elsewhere, and there are no tokens: nothing was started. Make one with "
            "`amends api token NAME ROLE`, and set AMENDS_API_TOKENS to the line that it prints"
        )


def _serve(served: "FastAPI", host: str, port: int) -> None:
    """Raises DependencyError if the port can't be had."""
    import uvicorn

    from orchestrator.api import limits

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=limits.REQUESTS_AT_ONCE_MAX)
    except OSError as error:
        raise DependencyError(
            f"can't listen on {host}:{port} ({error.strerror or error}). Nothing was started; name another --port"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    output.say(f"the API listens on http://{shown}:{listening.getsockname()[1]}/v1")
    config = uvicorn.Config(
        served,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # Whose request it is must not be said by the request.
        server_header=False,
        limit_concurrency=limits.CONNECTIONS_MAX,
        h11_max_incomplete_event_size=limits.HEAD_BYTES_MAX,
        timeout_keep_alive=limits.KEEP_ALIVE_S,
        timeout_graceful_shutdown=limits.SHUTDOWN_S,
        http="h11",
        ws="none",
    )
    # uvicorn gives the signal that ended it to whoever had it before, so that this ends as all processes of ours do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exits.OK))
    uvicorn.Server(config).run(sockets=[listening])
