"""Where the floor finds everything, from the environment of `services.play`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.settings import Settings, read_settings


@dataclass(frozen=True, slots=True)
class World:
    """`databases`: service -> URL. `settings` are those of the orchestrator's database."""

    settings: Settings
    databases: Mapping[str, str]
    gateway_url: str
    gateway_book: Path
    mailbox: Path
    var: Path


def read_world(env: Mapping[str, str] = os.environ) -> World:
    """The API's own setting names the databases of the services, for their breakers; here their books are in them."""
    settings = read_settings()
    named = settings.api_service_databases.get_secret_value() if settings.api_service_databases else ""
    databases = dict(part.split("=", 1) for part in named.split())
    return World(
        settings=settings,
        databases=databases,
        gateway_url=env["GATEWAY_URL"],
        gateway_book=Path(env["GATEWAY_BOOK"]),
        mailbox=Path(env["MAILBOX"]),
        var=Path(env["VAR_DIR"]),
    )
