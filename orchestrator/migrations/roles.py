"""Who may do what in the schema `amends`: one table of objects x roles, from which the GRANTs are made.

Group roles without a login: a DBA gives each kind of process a login of its own IN one of them. Each has what the SQL
of its rooms needs and no more; docs/operations/roles.md shows this table, and a test holds the two together. A role
that is not named at an object has nothing there. The owner has all, because it owns all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from orchestrator.errors import DependencyError

Role = Literal["owner", "worker", "participant", "client", "relay", "console"]
Kind = Literal["TABLE", "SEQUENCE", "FUNCTION"]
Part = Literal["engine", "participant", "outbox"]

ROLES: tuple[Role, ...] = get_args(Role)
GRANTED: tuple[Role, ...] = tuple(role for role in ROLES if role != "owner")
PREFIX_DEFAULT: Final = "amends"

USERS: Mapping[Role, str] = {
    "owner": "`amends migrate`, nobody else",
    "worker": "`amends orchestrator`",
    "participant": "`amends participant`, in the service's own database",
    "client": "who starts sagas, sends to them and waits for them",
    "relay": "`amends relay`; `amends outbox resend`",
    "console": "people: `amends ls`, `trace`, `doctor` …, the verbs, `outbox redrive` and `discard`, `relay switch`",
}

_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,39}")  # with its longest ending it still fits into a name of Postgres, 63
_READ = "SELECT"
_ADD = "SELECT, INSERT"
_ALL = "SELECT, INSERT, UPDATE, DELETE"
# Whoever adds a row hears its id; `nonce` and the rest stay unread.
_ADD_MESSAGE = "SELECT (id), INSERT"


@dataclass(frozen=True, slots=True)
class Object:
    """A table (or view), sequence or function of a part, and what each role may do with it, as GRANT says it."""

    part: Part
    kind: Kind
    name: str
    grants: Mapping[Role, str]


def _table(part: Part, name: str, **grants: str) -> Object:
    return Object(part, "TABLE", name, grants)  # type: ignore[arg-type]  # mypy knows no keyword names as Literals


def _sequence(part: Part, name: str, **grants: str) -> Object:
    return Object(part, "SEQUENCE", name, grants)  # type: ignore[arg-type]


def _function(part: Part, name: str, *roles: Role) -> Object:
    return Object(part, "FUNCTION", name, dict.fromkeys(roles, "EXECUTE"))


# Identity columns need no privilege on their sequence; only who asks a sequence by its name does.
OBJECTS: tuple[Object, ...] = (
    # Every database that writes messages.
    _table("outbox", "alembic_version", console=_READ),
    _table(
        "outbox",
        "topics",
        worker=_READ,
        participant=_READ,
        client=_READ,
        relay="SELECT, INSERT, UPDATE",
        console=_READ,
    ),
    _table(
        "outbox",
        "outbox",
        worker=_ADD,  # it looks whether a command has left
        participant="SELECT (id, seq, timestamp), INSERT",  # and its metrics say how old the oldest row is
        client=_ADD_MESSAGE,
        relay="SELECT, INSERT, DELETE",  # no UPDATE: it would be invisible to the slot's reader
        console=_READ,
    ),
    _sequence("outbox", "outbox_seq_seq", relay=_READ),
    _table("outbox", "outbox_sent", relay="SELECT, INSERT, DELETE", console=_READ),
    _table(
        "outbox",
        "outbox_dead",
        worker="SELECT (seq)",  # counted by its metrics, as by a participant's
        participant="SELECT (seq)",
        relay=_ALL,
        console="SELECT, UPDATE (redrive_at), DELETE",
    ),
    _table("outbox", "relay_lease", relay="SELECT, UPDATE", console="SELECT, UPDATE (wanted_mode, wanted_at)"),
    _table("outbox", "relay_slot", relay="SELECT, UPDATE", console=_READ),
    _function("outbox", "outbox_sent_partitions", "relay"),
    # The fence of `s.transaction`, in whichever database its SQL runs.
    _table("outbox", "step_result", worker="SELECT, INSERT, UPDATE (result)", console=_READ),
    # A service's own database.
    _table("participant", "inbox", participant=_ALL, console=_READ),
    _table("participant", "inbox_events", participant=_ALL, console=_READ),
    _table("participant", "inbox_dead", participant=_ADD, console=_READ),
    _table("participant", "breakers", participant="SELECT, INSERT, UPDATE", console=_READ),
    # The orchestrator's database. `nonce_secret` makes replies genuine: nobody but the worker reads it.
    _table(
        "engine",
        "installation",
        worker="SELECT, UPDATE (system_identifier, timeline, restored_at, known_until)",
        client="SELECT (shards, topic)",
        console="SELECT (one, shards, topic, system_identifier, timeline, restored_at, known_until, created_at)",
    ),
    _table("engine", "shards", worker="SELECT, UPDATE", console=_READ),
    _table("engine", "shard_requests", worker=_ALL, console=_READ),
    _table("engine", "workers", worker=_ALL, console=_READ),
    _table(
        "engine",
        "sagas",
        worker="SELECT, INSERT, UPDATE (status, input, ended_at, parked_at, result, problem, left_undone)",
        # What a start says, and no more: neither its status nor whose child it is.
        client="SELECT, INSERT (id, uid, type, version, shard, input, input_hash, traceparent)",
        console=_READ,
    ),
    _sequence("engine", "sagas_saga_no_seq", worker="USAGE"),
    _table("engine", "journal", worker=_ADD, console=_READ),  # append-only, by privilege too
    _table("engine", "journal_entries", console=_READ),
    _table("engine", "saga_values", worker=_ADD, client=_READ, console=_READ),
    _table("engine", "mailbox", worker="SELECT, INSERT, DELETE", console=_READ),
    _table("engine", "dead_letters", worker=_ADD, console=_READ),
    # `given_by` and `given_at` are the database's word.
    _table(
        "engine",
        "verbs",
        worker="SELECT, UPDATE (done_at, outcome)",
        console="SELECT, INSERT (saga_id, shard, verb, note)",
    ),
    _table("engine", "held_entries", worker="SELECT, INSERT, DELETE", console=_READ),
    _table("engine", "ignored", worker="SELECT, INSERT, UPDATE", console=_READ),
    _table("engine", "takeovers", worker=_ADD, console=_READ),
    # Whoever starts a saga tells those who watch; who watches says so himself.
    _table(
        "engine",
        "watchers",
        worker="SELECT, DELETE",
        client=_READ,
        console="SELECT, INSERT, UPDATE (whole_from, until)",
    ),
    _table("engine", "moved", worker="SELECT, INSERT, DELETE", client="INSERT", console=_READ),
    _table("engine", "span_queue", worker="SELECT, INSERT, DELETE", console=_READ),
    _function("engine", "fence", "worker"),
    _function("engine", "move_sagas", "worker"),
    _function("engine", "start_saga", "client"),
    _function("engine", "give_verb", "console"),
)


def role_name(prefix: str, role: Role) -> str:
    """The role's name in Postgres: roles are of the whole server, so two installations on one take two prefixes."""
    return f"{prefix}_{role}"


def checked_prefix(prefix: str) -> str:
    """Raises DependencyError for a prefix that would need quotes, or would be cut off."""
    if not _PREFIX.fullmatch(prefix):
        raise DependencyError(f"--role-prefix {prefix!r}: small letters, digits and _, at most 40, no digit first")
    return prefix


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing to run. `shown`: the part of it that needs a right, for the error that names it."""

    sql: str
    shown: str


def role_statements(prefix: str) -> list[Statement]:
    """Make the group roles as far as they are missing."""
    return [_made(role_name(prefix, role)) for role in ROLES]


def join_statement(prefix: str) -> Statement:
    """Make whoever runs this a member of the owner, unless he is one: only members may run the next migration."""
    owner = role_name(prefix, "owner")
    return Statement(_JOIN.format(owner=owner), f"GRANT {owner} TO CURRENT_USER")


def owner_statements(prefix: str) -> list[Statement]:
    """Give the schema and all that is in it to the owner; again after a migration has made new tables."""
    owner = role_name(prefix, "owner")
    return [
        Statement(_SCHEMA_OWNER.format(owner=owner), f"ALTER SCHEMA amends OWNER TO {owner}"),
        Statement(_OBJECT_OWNERS.format(owner=owner), f"ALTER TABLE amends… OWNER TO {owner}"),
    ]


def grant_statements(prefix: str, objects: Iterable[Object]) -> list[Statement]:
    """Take everything from the roles and from PUBLIC, and give what the table says. For one transaction."""
    names = ", ".join(role_name(prefix, role) for role in GRANTED)
    made = [f"REVOKE ALL ON SCHEMA amends FROM PUBLIC, {names}"]
    made += [f"REVOKE ALL ON ALL {kind} IN SCHEMA amends FROM PUBLIC, {names}" for kind in _KINDS]
    made.append(f"GRANT USAGE ON SCHEMA amends TO {names}")
    made += [
        f"GRANT {privileges} ON {one.kind} amends.{one.name} TO {role_name(prefix, role)}"
        for one in objects
        for role, privileges in one.grants.items()
    ]
    return [Statement(f"{sql};", sql) for sql in made]


def _made(name: str) -> Statement:
    shown = f"CREATE ROLE {name} NOLOGIN"
    return Statement(_CREATE_ROLE.format(name=name, create=shown), shown)


_KINDS = ("TABLES", "SEQUENCES", "ROUTINES")

# Roles are of the whole server: another database's migration may make the same one at this moment.
_CREATE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
        {create};
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;
"""
_JOIN = """
DO $$
BEGIN
    IF NOT pg_has_role(current_user, '{owner}', 'USAGE') THEN
        GRANT {owner} TO CURRENT_USER;
    END IF;
END $$;
"""
_SCHEMA_OWNER = """
DO $$
BEGIN
    IF (SELECT nspowner FROM pg_namespace WHERE nspname = 'amends') <> '{owner}'::regrole THEN
        ALTER SCHEMA amends OWNER TO {owner};
    END IF;
END $$;
"""
# Sequences of identity columns, indexes and the daily partitions' own go along with their table.
_OBJECT_OWNERS = """
DO $$
DECLARE one text;
BEGIN
    FOR one IN
        SELECT format('ALTER TABLE amends.%I OWNER TO {owner}', c.relname) FROM pg_class c
        WHERE c.relnamespace = 'amends'::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND c.relowner <> '{owner}'::regrole
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO {owner}', p.oid::regprocedure) FROM pg_proc p
        WHERE p.pronamespace = 'amends'::regnamespace AND p.proowner <> '{owner}'::regrole
    LOOP
        EXECUTE one;
    END LOOP;
END $$;
"""
