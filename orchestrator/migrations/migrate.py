"""Bring one database to the newest revision of its parts, then fill in what an installation needs; again and again.

All in one transaction under an advisory lock: two processes that start at once migrate one after the other.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from orchestrator.errors import DependencyError
from orchestrator.first_session import refuse_old
from orchestrator.messaging.topics import Topics, ensure_topics
from orchestrator.migrations.fill import fill_installation
from orchestrator.migrations.grants import grant_roles, left_to_do, roles_sql
from orchestrator.migrations.revisions import SCHEMA
from orchestrator.migrations.roles import Part
from outbox_relay import topics as topics_table
from outbox_relay.topics import Topic

ALL_PARTS: tuple[Part, ...] = get_args(Part)
PARTITIONS_MAX = 10_000  # a typo must not ask Kafka for a million partitions

LOCK_KEY = 0x616D656E6473  # "amends": one migration at a time in a database


def migrate(
    database_url: str,
    *,
    parts: Iterable[Part] = ALL_PARTS,
    shards: int | None = None,
    topic_prefix: str = "",
    topics: Mapping[str, int] | None = None,
    kafka_bootstrap_servers: str = "",
    kafka_login: Mapping[str, str] | None = None,
    role_prefix: str = "",
) -> list[str]:
    """Migrate the `parts` of the database. Safe to repeat; nothing is changed in it if this raises.

    Migrate the orchestrator's database first: a service's learns from Kafka how many partitions `sagas` has. With the
    part `engine` it makes the secret of the nonces, the shard rows and the topic `sagas` with one partition a
    shard; `shards` None: as many as there are, 8 in a new database. `topics` (full names -> partitions) are those that
    can be written to from here, as `Topics.needed` lists them. With `kafka_bootstrap_servers` they are created in Kafka
    where missing, and their real partition counts are registered; without, the given counts are believed;
    `kafka_login` is how one logs in there. With a `role_prefix` the roles of `grants` are made and get their rights;
    what a DBA must still do for them is returned. Raises DependencyError.
    """
    chosen = _checked(parts, shards, topics or {})
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect(database_url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            _upgrade(connection, chosen)
            driver = _psycopg_connection(connection)
            needed = dict(topics or {})
            sagas = Topics(topic_prefix).sagas
            if "engine" in chosen:
                needed[sagas] = fill_installation(driver, shards, sagas)
            elif (partitions := _partitions_in_kafka(sagas, kafka_bootstrap_servers, kafka_login)) is not None:
                needed[sagas] = partitions  # a service answers there, a client starts sagas there
            if needed:
                found = _found_topics(needed, kafka_bootstrap_servers, kafka_login)
                driver.execute(topics_table.UPSERT, topics_table.upsert_params(found))
            if not role_prefix:
                return []
            grant_roles(driver, role_prefix)
            return left_to_do(driver, role_prefix)
    except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
        refused = error.orig if isinstance(error, ProgrammingError) else error
        if not isinstance(refused, psycopg.errors.InsufficientPrivilege):
            raise
        raise DependencyError(
            f"this login may not migrate: {refused.diag.message_primary}. Members of the role `owner` may, once the "
            "database's administrator has done it for the first time: docs/operations/roles.md"
        ) from error
    except (OperationalError, psycopg.OperationalError) as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        raise DependencyError(
            f"the session at Postgres was lost ({said}): nothing was changed there, or, if that was the moment of its "
            "COMMIT, all was. Type `amends migrate` again"
        ) from error
    finally:
        engine.dispose()


def migration_sql(parts: Iterable[Part] = ALL_PARTS, role_prefix: str = "") -> str:
    """What `migrate` would execute in an empty database, as a script to read or to give to a DBA.

    With a `role_prefix` what makes the roles comes after it, in a transaction that can be run again by itself.
    """
    chosen = _checked(parts, None, {})
    out = io.StringIO()
    config = _config()
    config.output_buffer = out
    _run(config, chosen, as_sql=True)
    return out.getvalue() + (roles_sql(role_prefix, chosen) if role_prefix else "")


def missing_revisions(found: Iterable[str]) -> tuple[str, ...]:
    """What a database with these revisions lacks, in the branches that it has."""
    script = ScriptDirectory.from_config(_config())
    have = set(found)
    known = {revision for revision in have if _known(script, revision)}
    wanted: set[str] = set()
    applied: set[str] = set()
    for revision in known:
        step = script.get_revision(revision)
        for part in step.branch_labels & set(ALL_PARTS):
            wanted |= {one.revision for one in script.iterate_revisions(f"{part}@head", "base", implicit_base=True)}
        applied |= {one.revision for one in script.iterate_revisions(revision, "base", implicit_base=True)}
    return tuple(sorted(wanted - applied))


def _known(script: ScriptDirectory, revision: str) -> bool:
    """A database may be newer than this code: that is for the code's deploy to say, not for doctor."""
    try:
        return script.get_revision(revision) is not None
    except CommandError:
        return False


def _checked(parts: Iterable[Part], shards: int | None, topics: Mapping[str, int]) -> tuple[Part, ...]:
    chosen = tuple(parts)
    if unknown := [part for part in chosen if part not in ALL_PARTS]:
        raise DependencyError(f"no such part: {', '.join(unknown)}; there are {', '.join(ALL_PARTS)}")
    counts = {**topics, **({"sagas": shards} if shards is not None else {})}
    for topic, partitions in counts.items():
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise DependencyError(f"{topic}: {partitions} partitions; 1 to {PARTITIONS_MAX} are possible")
    return tuple(part for part in ("outbox", "participant", "engine") if part in chosen or part == "outbox")


def _connect(database_url: str) -> psycopg.Connection:
    try:
        connection = psycopg.connect(database_url, application_name="amends migrate", connect_timeout=10)
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        raise DependencyError(f"Postgres is not reachable: {said}. `amends doctor` looks at both servers") from error
    try:
        refuse_old(connection.info, database_url)
    except DependencyError:
        connection.close()
        raise
    return connection


def _upgrade(connection: Connection, parts: Iterable[Part]) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
    if connection.exec_driver_sql(f"SELECT to_regnamespace('{SCHEMA}')").scalar() is None:
        # Not IF NOT EXISTS: that asks for the right to make schemas in this database even where there is one already.
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
    config = _config()
    config.attributes["connection"] = connection
    _run(config, parts, as_sql=False)


def _run(config: Config, parts: Iterable[Part], *, as_sql: bool) -> None:
    """`alembic upgrade` of several branches in one go: its command takes one branch, or all there are."""
    script = ScriptDirectory.from_config(config)

    def steps(current: Any, _: object) -> Iterator[Any]:
        seen: set[str] = set()  # the outbox comes with each branch that depends on it
        for part in parts:
            for step in script._upgrade_revs(f"{part}@head", current):
                if step.revision.revision not in seen:
                    seen.add(step.revision.revision)
                    yield step

    with EnvironmentContext(config, script, fn=steps, as_sql=as_sql, starting_rev=None):
        script.run_env()


def _config() -> Config:
    config = Config(stdout=io.StringIO())
    # Percent signs are interpolation in a Config: a path may hold one.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _psycopg_connection(connection: Connection) -> "psycopg.Connection[tuple[object, ...]]":
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def _partitions_in_kafka(topic: str, kafka_bootstrap_servers: str, kafka_login: Mapping[str, str] | None) -> int | None:
    """None: nobody has made it, or nobody says where Kafka is."""
    if not kafka_bootstrap_servers:
        return None
    from orchestrator.messaging.kafka_admin import Admin

    return Admin(kafka_bootstrap_servers, kafka_login).partitions([topic]).get(topic)


def _found_topics(
    needed: Mapping[str, int], kafka_bootstrap_servers: str, kafka_login: Mapping[str, str] | None
) -> dict[str, Topic]:
    if not kafka_bootstrap_servers:
        return {topic: Topic(topic, partitions) for topic, partitions in needed.items()}
    # Imported here: `amends migrate` as a DBA runs it, without Kafka, needs no Kafka client.
    from orchestrator.messaging.kafka_admin import Admin

    found = ensure_topics(Admin(kafka_bootstrap_servers, kafka_login), needed)
    return {topic: Topic(topic, partitions, topic_id) for topic, (partitions, topic_id) in found.items()}
