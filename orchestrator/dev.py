"""`amends dev`: the local stack and everything of an app in this process, until a signal."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.app import App
from orchestrator.run import everything
from orchestrator.settings import Settings, read_settings

EXAMPLE_TYPES: dict[Any, Any] = {str: "…", int: 1, bool: True, float: 1.0, type(None): None}


async def run_dev(app: App, var: Path, say: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. Raises what a part of it ended by."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _servers(var, say) as settings, everything(app, settings):
        for line in _welcome(app):
            say(line)
        await stop.wait()
        say("stopping; what is open goes on when you come back")


@asynccontextmanager
async def _servers(var: Path, say: Callable[[str], None]) -> AsyncIterator[Settings]:
    """The servers of the environment, else of the stack that runs in `var`, else a stack for as long as we run."""
    from orchestrator.local.background import read_stack
    from orchestrator.local.stack import up

    named = os.environ.get("DATABASE_URL") and os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if named or read_stack(var) is not None:
        yield read_settings(var)
        return
    running = await up(var, progress=say)
    try:
        yield read_settings(var)
    finally:
        await running.down()


def _welcome(app: App) -> list[str]:
    sagas = ", ".join(saga.name for saga in app.sagas) or "none"
    participants = ", ".join(one.name for one in app.participants) or "none"
    lines = [f"sagas: {sagas}; participants: {participants}; Ctrl-C ends it"]
    if app.sagas:
        saga = app.sagas[0]
        lines.append(f"try in another shell: amends start {saga.name} --json '{_example(saga.input_type)}' --wait")
    return lines


def _example(input_type: Any) -> str:
    """An input to try: right for plain types, the field names for a model."""
    if input_type in EXAMPLE_TYPES:
        return json.dumps(EXAMPLE_TYPES[input_type], ensure_ascii=False)
    fields = getattr(input_type, "model_fields", {})
    return json.dumps(
        {name: EXAMPLE_TYPES.get(field.annotation, "…") for name, field in fields.items()}, ensure_ascii=False
    )
