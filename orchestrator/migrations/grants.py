"""Run or print what `roles` says, and look which logins a DBA still has to make."""

import importlib.resources
from collections.abc import Iterable
from typing import Any, LiteralString

import psycopg

from orchestrator.errors import DependencyError
from orchestrator.migrations.roles import (
    OBJECTS,
    ROLES,
    Object,
    Role,
    Statement,
    checked_prefix,
    grant_statements,
    join_statement,
    owner_statements,
    role_name,
    role_statements,
)

_THERE: LiteralString = """
    SELECT relname FROM pg_class WHERE relnamespace = 'amends'::regnamespace
    UNION
    SELECT proname FROM pg_proc WHERE pronamespace = 'amends'::regnamespace
"""
# Those that have the role's rights: who made the role is a member too, but inherits nothing from it.
_LOGINS: LiteralString = """
    SELECT r.rolname, r.rolreplication FROM pg_roles r
    WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, %s, 'USAGE')
    ORDER BY r.rolname
"""
_MAY_END_OTHERS: LiteralString = """
    SELECT pg_has_role(%(role)s, 'pg_signal_backend', 'USAGE') AND pg_has_role(%(role)s, 'pg_read_all_stats', 'USAGE')
"""

# Their sessions are looked at and ended by those who take over from them.
TAKING_OVER: tuple[Role, ...] = ("worker", "relay")


def grant_roles(connection: psycopg.Connection[Any], prefix: str) -> None:
    """Make the group roles and give each exactly what it needs in this database, in the caller's transaction.

    Safe to repeat: what a newer version needs is added, what none needs any more is taken away. Raises DependencyError
    that names the statement for which the right is missing.
    """
    checked_prefix(prefix)
    for statement in _before_grants(prefix):
        _run(connection, statement)
    there = {str(name) for (name,) in connection.execute(_THERE).fetchall()}
    for statement in grant_statements(prefix, [one for one in OBJECTS if one.name in there]):
        _run(connection, statement)


def roles_sql(prefix: str, parts: Iterable[str]) -> str:
    """What `grant_roles` runs in a database with these parts, as a script for a DBA. Its last lines name the logins."""
    checked_prefix(prefix)
    chosen: list[Object] = [one for one in OBJECTS if one.part in {*parts, "outbox"}]
    body = [statement.sql.strip() for statement in (*_before_grants(prefix), *grant_statements(prefix, chosen))]
    logins = [f"-- {_login(prefix, role)};" for role in ROLES]
    then = "-- Then a login for each kind of process, with a password or a certificate:"
    return "\n".join(["BEGIN;", *body, "COMMIT;", "", then, *logins, ""])


def left_to_do(connection: psycopg.Connection[Any], prefix: str) -> list[str]:
    """What a DBA must still do by himself: statements, each with the reason behind it."""
    todo: list[str] = []
    for role in ROLES:
        group = role_name(prefix, role)
        logins = connection.execute(_LOGINS, [group]).fetchall()
        if not logins:
            todo.append(f"{_login(prefix, role)};  -- nobody can log in as {role}")
        if role == "relay":
            todo += [
                f"ALTER ROLE {name} REPLICATION;  -- not inherited from a group; without it the outbox is polled"
                for name, replicates in logins
                if not replicates
            ]
        if role in TAKING_OVER and len(logins) > 1 and not _one(connection, _MAY_END_OTHERS, {"role": group}):
            todo.append(
                f"GRANT pg_signal_backend, pg_read_all_stats TO {group};  -- or give all of them one login: who takes "
                f"over from another login ({', '.join(name for name, _ in logins)}) can't end its sessions"
            )
    return todo


def _before_grants(prefix: str) -> list[Statement]:
    step_result = Statement(_step_result_sql(), "CREATE TABLE amends.step_result")
    return [*role_statements(prefix), join_statement(prefix), step_result, *owner_statements(prefix)]


def _login(prefix: str, role: Role) -> str:
    replication = " REPLICATION" if role == "relay" else ""
    return f"CREATE ROLE my_{role} LOGIN{replication} IN ROLE {role_name(prefix, role)}"


def _run(connection: psycopg.Connection[Any], statement: Statement) -> None:
    try:
        connection.execute(statement.sql.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise DependencyError(
            f"{connection.info.user} may not run `{statement.shown}`: {error.diag.message_primary}. Nothing was done. "
            "`amends migrate --roles --sql` prints everything for somebody who may"
        ) from error


def _one(connection: psycopg.Connection[Any], query: LiteralString, params: Any) -> Any:
    row = connection.execute(query, params).fetchone()
    return row and row[0]


def _step_result_sql() -> str:
    """The worker makes this table where it needs it; in a database with roles it may not."""
    return importlib.resources.files("orchestrator.engine").joinpath("sql", "step_result.sql").read_text("utf-8")
