"""`amends migrate --roles`: each role has what the table says and is refused the rest; made again, or printed."""

import re
from collections.abc import Callable, Iterator, Mapping
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from orchestrator.engine import workers
from orchestrator.errors import DependencyError
from orchestrator.local.stack import Stack
from orchestrator.migrations import ALL_PARTS, migrate, migration_sql
from orchestrator.migrations.grants import roles_sql
from orchestrator.migrations.roles import GRANTED, OBJECTS, ROLES, Object, Role, role_name
from outbox_relay import lease
from tests import roles
from tests.deadlines import eventually
from tests.roles import as_login, as_role, login
from tests.servers import create_template

COLUMNS = re.compile(r"(SELECT|INSERT|UPDATE) \((.*?)\)")
TABLE_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

# What would be money, or the loss of it.
FORBIDDEN: list[tuple[Role, str]] = [
    ("client", "UPDATE amends.shards SET epoch = epoch + 1"),
    ("client", "INSERT INTO amends.journal (saga_no, pos, body) VALUES (1, 0, '[]')"),
    ("client", "SELECT body FROM amends.journal"),
    ("client", "SELECT nonce_secret FROM amends.installation"),
    ("client", "SELECT nonce FROM amends.outbox"),
    ("client", "DELETE FROM amends.outbox"),
    ("client", "UPDATE amends.sagas SET status = 'completed'"),
    ("client", "INSERT INTO amends.sagas (id, status) VALUES ('x', 'completed')"),
    ("client", "INSERT INTO amends.verbs (saga_id, shard, verb) VALUES ('x', 0, 'cancel')"),
    ("client", "SELECT amends.outbox_sent_partitions(0, interval '0')"),
    ("client", "SELECT amends.move_sagas('{}', '{}', '{}', '{}', '{}', '{}', '{}')"),
    ("relay", "SELECT body FROM amends.journal"),
    ("relay", "SELECT id FROM amends.sagas"),
    ("relay", "UPDATE amends.outbox SET payload = ''"),
    ("relay", "SELECT nonce_secret FROM amends.installation"),
    ("relay", "DROP TABLE amends.outbox_sent"),
    ("participant", "SELECT body FROM amends.journal"),
    ("participant", "SELECT payload FROM amends.outbox"),
    ("participant", "DELETE FROM amends.outbox"),
    ("console", "INSERT INTO amends.journal (saga_no, pos, body) VALUES (1, 0, '[]')"),
    ("console", "INSERT INTO amends.outbox (aggregatetype, aggregateid, type, partition) VALUES ('t', 'k', 't', 0)"),
    ("console", "INSERT INTO amends.verbs (saga_id, shard, verb, given_by) VALUES ('x', 0, 'cancel', 'the boss')"),
    ("client", "SELECT amends.give_verb('x', 'cancel', '', 'ada')"),
    ("worker", "SELECT amends.give_verb('x', 'cancel', '', 'ada')"),
    ("console", "UPDATE amends.sagas SET status = 'completed'"),
    ("console", "DELETE FROM amends.verbs"),
    ("console", "SELECT nonce_secret FROM amends.installation"),
    ("worker", "UPDATE amends.journal SET body = '[]'"),
    ("worker", "DELETE FROM amends.journal"),
    ("worker", "DELETE FROM amends.sagas"),
    ("worker", "INSERT INTO amends.shards (shard) VALUES (99)"),
    ("worker", "UPDATE amends.installation SET nonce_secret = ''"),
    ("worker", "DELETE FROM amends.outbox"),
    *[(role, "DROP TABLE amends.journal") for role in GRANTED],
    *[(role, "TRUNCATE amends.journal") for role in GRANTED],
    *[(role, "CREATE TABLE amends.mine (x int)") for role in GRANTED],
]  # fmt: skip


def build(url: str) -> None:
    migrate(url, shards=2)
    roles.grant(url)


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """All parts, and the roles."""
    return create_template(stack.database_url, "security", build)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """As the administrator."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def asked_for(one: Object, role: Role) -> tuple[set[str], dict[str, set[str]]]:
    """What the table gives: whole privileges, and those of some columns."""
    text = one.grants.get(role, "")
    columns = {privilege: set(names.split(", ")) for privilege, names in COLUMNS.findall(text)}
    return set(COLUMNS.sub("", text).replace(" ", "").split(",")) - {""}, columns


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: one.name)
def test_the_database_says_what_the_table_says(connection: psycopg.Connection, one: Object) -> None:
    for role in GRANTED:
        whole, columns = asked_for(one, role)
        assert granted(connection, role_name(roles.prefix(), role), one) == (whole, columns), role


def granted(connection: psycopg.Connection, role: str, one: Object) -> tuple[set[str], dict[str, set[str]]]:
    """What Postgres has noted for the role at the object."""
    if one.kind == "FUNCTION":
        acl = "SELECT a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a WHERE p.proname = %s"
        where = " AND p.pronamespace = 'amends'::regnamespace AND a.grantee = %s::regrole"
        return {row[0] for row in connection.execute(acl + where, [one.name, role])}, {}
    acl = "SELECT a.privilege_type FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %s::regclass"
    whole = connection.execute(acl + " AND a.grantee = %s::regrole", [f"amends.{one.name}", role])
    columns: dict[str, set[str]] = {}
    for privilege, column in connection.execute(
        "SELECT a.privilege_type, t.attname FROM pg_attribute t, aclexplode(t.attacl) a "
        "WHERE t.attrelid = %s::regclass AND a.grantee = %s::regrole",
        [f"amends.{one.name}", role],
    ):
        columns.setdefault(privilege, set()).add(column)
    return {row[0] for row in whole}, columns


def test_every_table_and_function_is_in_the_table(connection: psycopg.Connection) -> None:
    """A new one is without rights until somebody says who needs it."""
    found = connection.execute("""
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'amends'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
        UNION
        SELECT p.proname FROM pg_proc p
        WHERE p.pronamespace = 'amends'::regnamespace AND p.prorettype <> 'trigger'::regtype
    """).fetchall()
    assert {name for (name,) in found} == {one.name for one in OBJECTS if one.kind != "SEQUENCE"}


def test_public_has_nothing_and_the_owner_owns_all(connection: psycopg.Connection) -> None:
    grantees = connection.execute("""
        SELECT 1 FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'amends'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT 1 FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.pronamespace = 'amends'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT 1 FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'amends' AND a.grantee = 0
    """).fetchall()
    assert grantees == []
    owners = connection.execute("""
        SELECT relowner::regrole::text FROM pg_class WHERE relnamespace = 'amends'::regnamespace
        UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'amends'::regnamespace
        UNION SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'amends'
    """).fetchall()
    assert owners == [(role_name(roles.prefix(), "owner"),)]


@pytest.mark.parametrize(("role", "statement"), FORBIDDEN, ids=lambda value: value[:60])
def test_what_a_role_must_not_do_is_refused(database_url: str, role: Role, statement: str) -> None:
    with psycopg.connect(as_role(database_url, role)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
        connection.rollback()


def test_once_more_takes_back_what_is_too_much_and_gives_what_is_missing(
    connection: psycopg.Connection, database_url: str
) -> None:
    client, worker = (role_name(roles.prefix(), role) for role in ("client", "worker"))
    connection.execute(f"GRANT UPDATE, SELECT (shard) ON amends.shards TO {client}".encode())
    connection.execute(f"GRANT EXECUTE ON FUNCTION amends.move_sagas TO PUBLIC, {client}".encode())
    connection.execute(f"REVOKE INSERT ON amends.journal FROM {worker}".encode())
    before = rights(connection)
    migrate(database_url, shards=2, role_prefix=roles.prefix())
    after = rights(connection)
    assert before != after == rights_of_the_table(after)


def rights(connection: psycopg.Connection) -> dict[tuple[str, Role], tuple[set[str], dict[str, set[str]]]]:
    return {
        (one.name, role): granted(connection, role_name(roles.prefix(), role), one)
        for one in OBJECTS
        for role in GRANTED
    }


def rights_of_the_table(found: Mapping[tuple[str, Role], object]) -> Mapping[tuple[str, Role], object]:
    assert found
    return {(one.name, role): asked_for(one, role) for one in OBJECTS for role in GRANTED}


def test_the_printed_sql_does_the_same(make_database: Callable[[], str], connection: psycopg.Connection) -> None:
    wanted = rights(connection)
    with psycopg.connect(make_database(), autocommit=True) as other:
        other.execute("DROP SCHEMA amends CASCADE; DROP PUBLICATION amends_outbox")
        other.execute(migration_sql(role_prefix=roles.prefix()).encode())
        assert rights(other) == wanted
        other.execute(roles_sql(roles.prefix(), ALL_PARTS).encode())  # and again, by itself
        assert rights(other) == wanted


def test_who_may_make_no_roles_is_told_which_statement_to_give_to_a_dba(
    connection: psycopg.Connection, database_url: str
) -> None:
    name = login(connection, "", role_name(roles.prefix(), "owner"))
    fresh = f"{roles.prefix()}_x"
    with pytest.raises(DependencyError, match=f"{name} may not run `CREATE ROLE {fresh}_owner NOLOGIN`.*--roles --sql"):
        migrate(as_login(database_url, name), shards=2, role_prefix=fresh)
    migrate(as_login(database_url, name), shards=2)  # a member of the owner may migrate


def test_an_administrator_who_is_no_superuser_makes_all_of_it(
    connection: psycopg.Connection, make_database: Callable[[], str]
) -> None:
    """As at those who rent out Postgres: CREATEROLE, and the database is his."""
    name, url, fresh = login(connection, "CREATEROLE"), make_database(), f"{roles.prefix()}_y"
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("DROP SCHEMA amends CASCADE; DROP PUBLICATION amends_outbox")
        made = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")
        own.execute(made.format(sql.Identifier(own.info.dbname), sql.Identifier(name)))
    for _ in range(2):
        todo = migrate(as_login(url, name), shards=2, role_prefix=fresh)
        assert [one for one in todo if f"CREATE ROLE my_relay LOGIN REPLICATION IN ROLE {fresh}_relay" in one]
    with psycopg.connect(url, autocommit=True) as own:
        owner = own.execute("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'amends.journal'::regclass")
        assert owner.fetchone() == (f"{fresh}_owner",)


def test_what_is_left_for_the_dba(connection: psycopg.Connection, database_url: str) -> None:
    """Until there is nothing left: what it prints is what has to be typed."""
    fresh = f"{roles.prefix()}_z"
    todo = migrate(database_url, shards=2, role_prefix=fresh)
    assert [one.partition(" LOGIN")[0] for one in todo] == [f"CREATE ROLE my_{role}" for role in ROLES]
    for statement in todo:
        connection.execute(statement.replace("my_", f"{fresh}_my_").encode())
    assert migrate(database_url, shards=2, role_prefix=fresh) == []
    another = login(connection, "", f"{fresh}_relay", f"{fresh}_worker")
    todo = migrate(database_url, shards=2, role_prefix=fresh)
    assert [one.partition("  --")[0] for one in todo] == [
        f"GRANT pg_signal_backend, pg_read_all_stats TO {fresh}_worker;",
        f"ALTER ROLE {another} REPLICATION;",
        f"GRANT pg_signal_backend, pg_read_all_stats TO {fresh}_relay;",
    ]
    for statement in todo:
        connection.execute(statement.encode())
    assert migrate(database_url, shards=2, role_prefix=fresh) == []


def test_a_prefix_that_would_need_quotes_is_refused(database_url: str) -> None:
    with pytest.raises(DependencyError, match="small letters"):
        migrate(database_url, shards=2, role_prefix="Shop-1")


def test_sessions_of_another_login_count_as_alive_as_long_as_they_are_there(
    connection: psycopg.Connection, database_url: str
) -> None:
    """When they began is hidden. To take that for their end would rob a living owner."""
    group = role_name(roles.prefix(), "worker")
    names = [login(connection, "", group, role_name(roles.prefix(), "relay")) for _ in range(2)]
    worker = uuid4()
    with psycopg.connect(as_login(database_url, names[0]), autocommit=True) as other:
        with psycopg.connect(as_login(database_url, names[1]), autocommit=True) as own:
            workers.register(own, worker, "w", 1, [own.info.backend_pid])
            [(pid, start)] = own.execute(lease.OWN_BACKEND).fetchall()
            backends = psycopg.types.json.Jsonb([{"pid": pid, "start": start}])
            own.execute("UPDATE amends.relay_lease SET backends = %s, beat_at = now()", [backends])
            hidden = other.execute("SELECT backend_start FROM pg_stat_activity WHERE pid = %s", [pid])
            assert hidden.fetchone() == (None,)
            assert workers.look(other, workers.Census())[0] == {worker}
            assert other.execute(lease.READ).fetchall()[0][4] is True
        eventually(lambda: workers.look(other, workers.Census())[0] == frozenset(), 10, "its session has ended")
        assert other.execute(lease.READ).fetchall()[0][4] is False
    for name in names:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("token", ["", "a/b", "/", None])
def test_a_token_can_write_no_name_before_its_own(database_url: str, token: str | None) -> None:
    with psycopg.connect(as_role(database_url, "console")) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute("SELECT amends.give_verb('x', 'cancel', '', %s)", [token])
        connection.rollback()


def test_a_verb_with_a_token_says_who_logged_in(database_url: str) -> None:
    """The function runs as its owner, and still knows who called it."""
    insert = (
        "INSERT INTO amends.sagas (id, uid, type, version, shard, input, input_hash) "
        "VALUES ('s', gen_random_uuid(), 't', 1, 0, '{}', '')"
    )
    with psycopg.connect(database_url) as connection:
        connection.execute(insert)
    with psycopg.connect(as_role(database_url, "console")) as connection:
        connection.execute("SELECT amends.give_verb('s', 'cancel', '', 'ada')")
        [(by,)] = connection.execute("SELECT given_by FROM amends.verbs").fetchall()
    assert by == f"{roles.login_of('console')}/ada"
