"""The processes of the tests log in under the roles of `amends migrate --roles`; the tests look as the administrator.

Roles are of the whole server, so their names begin with the run's.
"""

import secrets
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from orchestrator.migrations.grants import grant_roles
from orchestrator.migrations.roles import ROLES, Role, role_name
from tests import servers

Login = Role | Literal["person"]
"""Whose login: of one role, or of somebody who is a client and sits at the console, too."""

MEMBERS: dict[Login, tuple[Role, ...]] = {**{role: (role,) for role in ROLES}, "person": ("client", "console")}

# The tables of a test's services are made by the test; services and transactional steps use them.
OWN_TABLES = """
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {participant}, {worker};
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO {participant}, {worker};
    GRANT ALL ON ALL TABLES IN SCHEMA public TO {participant}, {worker};
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {participant}, {worker};
"""
LOGIN = """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
            CREATE ROLE {login} LOGIN {attribute} PASSWORD {password} IN ROLE {groups};
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END $$
"""


def prefix() -> str:
    """What this run's roles begin with."""
    return f"t_{servers.run_name()}"


def grant(url: str) -> None:
    """Make the roles in a migrated database, a login for each, and let services use the tables that tests make."""
    with psycopg.connect(url) as connection:
        grant_roles(connection, prefix())
        make_logins(connection, urlsplit(url).password)
        named: Any = {role: sql.Identifier(role_name(prefix(), role)) for role in ("participant", "worker")}
        connection.execute(sql.SQL(OWN_TABLES).format(**named))


def make_logins(connection: psycopg.Connection, password: str | None) -> None:
    """The logins, with the password of the administrator if the server asks for one."""
    for name, members in MEMBERS.items():
        connection.execute(
            sql.SQL(LOGIN).format(
                name=sql.Literal(login_of(name)),
                login=sql.Identifier(login_of(name)),
                attribute=sql.SQL("REPLICATION" if name == "relay" else "NOREPLICATION"),
                password=sql.Literal(password),
                groups=sql.SQL(", ").join(sql.Identifier(role_name(prefix(), role)) for role in members),
            )
        )


def login_of(name: Login) -> str:
    return f"{prefix()}_{name}_login"


def as_role(url: str, role: Login) -> str:
    """The same database, as this login."""
    return as_login(url, login_of(role))


def login(connection: psycopg.Connection, attributes: str, *groups: str) -> str:
    """Make one more login, for a test that changes it; its name begins as all of the run do."""
    name = f"{prefix()}_{secrets.token_hex(4)}"
    statement = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}")
    password = sql.Literal(connection.info.password or None)
    connection.execute(statement.format(sql.Identifier(name), sql.SQL(attributes), password))
    for group in groups:
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
    return name


def as_login(url: str, name: str) -> str:
    parts = urlsplit(url)
    _, _, host = parts.netloc.rpartition("@")
    password = f":{parts.password}" if parts.password else ""
    return urlunsplit(parts._replace(netloc=f"{name}{password}@{host}"))


def drop_roles(admin_url: str) -> None:
    """Drop the run's roles; its databases are gone."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        found = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"
        for (name,) in connection.execute(found, [f"{prefix()}_"]).fetchall():
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
