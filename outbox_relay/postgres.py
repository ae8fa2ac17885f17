"""The relay's sessions at Postgres."""

from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outbox_relay import arrays

Session: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# A peer that is gone without a word is noticed after some seconds, not after the kernel's two hours.
_TCP = {
    "connect_timeout": 5,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


def conninfo(database_url: str, purpose: str, *settings: str, **more: str) -> str:
    """The URL with our own settings, each `name=value` for this session only."""
    given = conninfo_to_dict(database_url)
    options = " ".join([str(given.get("options") or ""), *(f"-c {setting}" for setting in settings)]).strip()
    own: dict[str, Any] = {"application_name": f"amends relay: {purpose}"} | _TCP | more
    if options:
        own["options"] = options
    return make_conninfo(database_url, **own)


def connect(database_url: str, purpose: str, *settings: str) -> Session:
    """Open a session in autocommit, named after its purpose in pg_stat_activity.

    Without synchronous commit: each of the relay's statements may be lost and is then done again, and a synchronous
    replica that is slow must cost neither the lease nor the rate.
    """
    own = conninfo(database_url, purpose, "synchronous_commit=off", *settings)
    session = psycopg.connect(own, autocommit=True)
    arrays.register(session)
    return session
