"""The commands against a real database: what people type, what they read, what scripts get."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator import limits
from orchestrator.cli import exits, verbs
from orchestrator.cli.context import CONTEXT
from orchestrator.cli.main import main
from orchestrator.messaging import avro, control
from orchestrator.messaging.schema_files import write_schemas
from outbox_relay import sent, table
from outbox_relay.limits import SENT_KEPT_S
from outbox_relay.postgres import connect
from tests.integration.client.sagas import Settled, ended, journaled
from tests.roles import as_role

CALL = {"op": "call", "seq": 0, "name": "ReserveStock", "service": "stock", "body": {}}
STARTED = {"in": "started", "at": 1_767_225_600_000_000, "input": {}}

CLIENTS = ("start", "send")
OWNERS = ("migrate",)

Amends = Callable[..., tuple[int, str, str]]


@pytest.fixture
def amends(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Amends:
    """Run a command under the role that it is for: (exit code, stdout, stderr)."""
    monkeypatch.setenv("AMENDS_SCHEMAS_DIR", str(tmp_path / "schemas"))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setattr(verbs, "OUTCOME_WAIT_S", 0.1)

    def run(*arguments: str) -> tuple[int, str, str]:
        CONTEXT.as_json = False
        command = next((word for word in arguments if not word.startswith("-")), "")
        monkeypatch.setenv("DATABASE_URL", login(database_url, command, *arguments[1:2]))
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def login(url: str, command: str, verb: str = "") -> str:
    if command in OWNERS:
        return url
    if (command, verb) == ("outbox", "resend"):
        return as_role(url, "relay")
    return as_role(url, "client" if command in CLIENTS else "console")


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def test_start_needs_only_a_name_and_json(amends: Amends, database_url: str) -> None:
    assert amends("start", "checkout", "--json", '{"b": 1, "a": "é"}', "--id", "order-7") == (
        exits.OK,
        "order-7\n",
        "follow it: amends watch order-7\n",
    )
    [(version, text, payload)] = ask(
        database_url, "SELECT version, input, payload FROM amends.sagas JOIN amends.outbox ON saga_id = sagas.id"
    )
    assert (version, text) == (1, '{"a":"é","b":1}')
    assert control.Start.decode(payload).input == text


def test_start_takes_the_latest_version_seen(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--id", "a", "--version", "4")
    amends("start", "checkout", "--id", "b")
    assert ask(database_url, "SELECT version FROM amends.sagas WHERE id = 'b'") == [(4,)]


def test_start_with_the_code_checks_the_input_and_takes_its_version(amends: Amends, database_url: str) -> None:
    where = "tests.unit.client.app_of_sagas:app"
    code, _, said = amends("start", "hello", "--json", '{"x": 1}', "--app", where)
    assert code == exits.REFUSED
    assert "this is no input for hello" in said
    assert amends("start", "hello", "--json", '"Ada"', "--app", where, "--id", "h")[0] == exits.OK
    assert ask(database_url, "SELECT input FROM amends.sagas") == [('"Ada"',)]
    code, _, said = amends("start", "goodbye", "--app", where)
    assert (code, "has no saga goodbye" in said) == (exits.REFUSED, True)


def test_start_again_says_so_and_another_input_is_refused(amends: Amends) -> None:
    amends("start", "checkout", "--json", "1", "--id", "order-7")
    assert "was there already" in amends("start", "checkout", "--json", "1", "--id", "order-7")[2]
    code, out, said = amends("start", "checkout", "--json", "2", "--id", "order-7")
    assert (code, out) == (exits.REFUSED, "")
    assert "amends show order-7" in said
    code, out, _ = amends("--json", "start", "checkout", "--json", "1", "--id", "order-7")
    assert json.loads(out) == {"id": "order-7", "created": False}


def test_start_and_wait_prints_the_result(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--json", "1", "--id", "order-7")
    ended(database_url, "order-7", "completed", result={"n": 3})
    assert json.loads(amends("start", "checkout", "--json", "1", "--id", "order-7", "--wait")[1]) == {"n": 3}
    amends("start", "checkout", "--json", "1", "--id", "order-8")
    ended(database_url, "order-8", "cancelled")
    code, _, said = amends("start", "checkout", "--json", "1", "--id", "order-8", "--wait")
    assert (code, "order-8 cancelled" in said) == (exits.SAGA_FAILED, True)


def test_ls_filters(amends: Amends, database_url: str) -> None:
    for name in ("a", "b", "c"):
        amends("start", "checkout" if name != "c" else "dispatch", "--id", name)
    ended(database_url, "b", "completed")
    assert listed(amends) == ["c", "b", "a"]
    assert listed(amends, "--status", "completed") == ["b"]
    assert listed(amends, "--status", "completed", "--status", "queued", "--type", "checkout") == ["b", "a"]
    assert listed(amends, "--type", "dispatch") == ["c"]
    assert listed(amends, "--contains", "b") == ["b"]
    assert listed(amends, "--older-than", "2h") == []
    ask_to(database_url, "UPDATE amends.sagas SET started_at = now() - interval '3 hours' WHERE id = 'a'")
    assert listed(amends, "--older-than", "2h") == ["a"]
    lines = amends("ls")[1].splitlines()
    assert lines[0].split() == ["id", "type", "status", "started", "ended", "error"]
    assert len(lines) == 4
    assert "no such saga" in amends("ls", "--contains", "x")[2]
    assert amends("ls", "--status", "happy")[0] == exits.USAGE
    assert amends("ls", "--older-than", "2 weeks")[0] == exits.USAGE


def test_ls_goes_on_where_it_ended(amends: Amends) -> None:
    for name in ("a", "b", "c"):
        amends("start", "checkout", "--id", name)
    first = json.loads(amends("ls", "--limit", "2", "--json")[1])
    assert [row["id"] for row in first["sagas"]] == ["c", "b"]
    assert f"--cursor {first['next_cursor']}" in amends("ls", "--limit", "2")[2]
    assert listed(amends, "--cursor", first["next_cursor"]) == ["a"]
    code, _, said = amends("ls", "--cursor", first["next_cursor"], "--type", "checkout")
    assert (code, "belongs to a list with other filters" in said) == (exits.REFUSED, True)


def test_ls_looks_on_for_what_is_rare(amends: Amends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LISTED_LOOKED_AT_MAX", 2)
    for name in ("rare", "b", "c", "d", "e", "f"):
        amends("start", "checkout", "--id", name)
    assert listed(amends, "--contains", "rare", "--limit", "1") == ["rare"]


def listed(amends: Amends, *options: str) -> list[str]:
    return [row["id"] for row in json.loads(amends("ls", *options, "--json")[1])["sagas"]]


def ask_to(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


def test_show_tells_the_whole(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--json", '{"order_id": "7"}', "--id", "order-7")
    journaled(
        database_url,
        "order-7",
        [STARTED, {"op": "set", "seq": 0, "key": "status", "value": "new"}, {**CALL, "seq": 1}],
        [{"in": "replied", "at": STARTED["at"], "seq": 1}, {**CALL, "seq": 2}],
    )
    code, out, _ = amends("show", "order-7")
    assert code == exits.OK
    assert "waits for    call ReserveStock" in out
    assert 'set status = "new"; call #1 ReserveStock' in out
    assert "replied #1 succeeded" in out
    shown = json.loads(amends("show", "order-7", "--json")[1])
    assert shown["saga"]["id"] == "order-7"
    assert shown["waiting_for"] == ["call ReserveStock"]
    assert shown["journal"][0]["body"][0]["in"] == "started"


def test_trace_draws_the_tree_with_takeovers(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--id", "order-7")
    journaled(database_url, "order-7", [STARTED, CALL])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "WITH w AS (INSERT INTO amends.workers (worker, name, pid) VALUES (gen_random_uuid(), 'host-2', 1)"
            " RETURNING worker) UPDATE amends.shards SET epoch = epoch + 1, worker = (SELECT worker FROM w)"
        )
        connection.execute("UPDATE amends.shards SET batch_no = batch_no + 1")  # a batch is no takeover
    lines = amends("trace", "order-7")[1].splitlines()
    assert lines[0].startswith("checkout order-7  queued")
    assert sum("taken over" in line for line in lines) == 1
    assert any("#0 call ReserveStock -> stock  open" in line for line in lines)
    tree = json.loads(amends("trace", "order-7", "--json")[1])
    assert {child["title"] for child in tree["children"]} == {"#0 call ReserveStock -> stock", "taken over"}


def test_watch_ends_with_the_saga(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--id", "order-7")
    journaled(
        database_url, "order-7", [STARTED, CALL], [{**STARTED, "in": "timer"}, {"op": "finish", "name": "failed"}]
    )
    ended(database_url, "order-7", "failed", problem={"kind": "failure", "type": "NoStock", "text": "NoStock()"})
    code, out, _ = amends("watch", "order-7")
    assert code == exits.SAGA_FAILED
    assert [line.split()[0] for line in out.splitlines()] == ["0", "1"]
    rows = [json.loads(line) for line in amends("watch", "order-7", "--json")[1].splitlines()]
    assert rows[-1] == {"status": "failed"}


def test_watch_prints_the_same_whether_it_came_before_the_last_turn_or_after(
    amends: Amends, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    amends("start", "checkout", "--id", "order-7")
    journaled(database_url, "order-7", [STARTED, CALL])

    def ends_meanwhile(_: float) -> None:
        ended(database_url, "order-7", "completed")

    monkeypatch.setattr("orchestrator.cli.reading.time.sleep", ends_meanwhile)
    watched = amends("watch", "order-7")
    assert watched == amends("watch", "order-7")
    assert watched[2] == "order-7 is completed\n"


def test_stuck_lists_those_that_wait_for_a_person(amends: Amends, database_url: str) -> None:
    assert amends("stuck")[1:] == ("", "nothing is stuck\n")
    amends("start", "checkout", "--id", "order-7")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE amends.sagas SET status = 'stuck', parked_at = now()")
    code, out, said = amends("stuck")
    assert (code, "order-7" in out, "amends skip ID" in said) == (exits.OK, True, True)


def test_verbs_say_that_nobody_has_read_them(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--id", "order-7")
    assert "amends doctor" in amends("cancel", "order-7")[2]
    assert amends("skip", "order-7")[0] == exits.USAGE  # a note is wanted
    row = json.loads(amends("skip", "order-7", "--note", "by hand", "--json")[1])
    assert (row["verb"], row["note"], row["outcome"]) == ("skip", "by hand", None)
    assert ask(database_url, "SELECT verb FROM amends.verbs ORDER BY verb_no") == [("cancel",), ("skip",)]
    assert amends("cancel", "order-8")[0] == exits.NOT_FOUND


def test_verbs_are_listed_with_who_and_why(amends: Amends) -> None:
    assert amends("verbs")[1:] == ("", "no verb was given\n")
    for saga_id in ("order-7", "order-8"):
        amends("start", "checkout", "--id", saga_id)
        amends("terminate", saga_id, "--note", f"{saga_id} was a test")
    code, out, said = amends("verbs", "--limit", "1")
    assert (code, "order-8 was a test" in out, "order-7" in out) == (exits.OK, True, False)
    assert "not read" in out
    page = json.loads(amends("verbs", "--limit", "1", "--json")[1])
    assert f"amends verbs --before {page['next_before']}" in said
    [older] = json.loads(amends("verbs", "--before", str(page["next_before"]), "--json")[1])["verbs"]
    assert (older["saga_id"], older["verb"]) == ("order-7", "terminate")


def test_send_by_schema_file(amends: Amends, database_url: str, tmp_path: Path) -> None:
    write_schemas(tmp_path / "schemas", [Settled])
    code, _, said = amends("send", "order-7", "Unheard", "{}")
    assert (code, "AMENDS_SCHEMAS_DIR" in said) == (exits.REFUSED, True)
    assert amends("send", "order-7", "TestSettled", '{"reference": "r"}', "--channel", "card")[0] == exits.OK
    [(type_, channel, payload)] = ask(database_url, "SELECT type, channel, payload FROM amends.outbox")
    assert (type_, channel, avro.decode(payload)) == ("TestSettled", "card", {"reference": "r"})
    assert amends("send", "order-7", "TestSettled", '{"reference": 7}')[0] == exits.REFUSED


def test_doctor_finds_what_is_not_running(amends: Amends) -> None:
    code, out, _ = amends("doctor")
    assert code == exits.UNHEALTHY
    assert "bad      relay: never ran" in out
    assert "warning  Kafka: not asked" in out
    levels = {row["subject"]: row["level"] for row in json.loads(amends("doctor", "--json")[1])}
    assert levels["tables"] == "ok"


def test_doctor_looks_at_kafka(
    amends: Amends, monkeypatch: pytest.MonkeyPatch, kafka_bootstrap_servers: str, topic_prefix: str, database_url: str
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap_servers)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE amends.topics SET topic = %s", [f"{topic_prefix}sagas"])
    out = amends("doctor")[1]
    assert f"ok       Kafka {kafka_bootstrap_servers}: 3.7 or later" in out
    assert f"bad      topic {topic_prefix}sagas: is not in Kafka" in out


def test_migrate_makes_the_topics_of_what_is_imported(
    database_url: str,
    amends: Amends,
    monkeypatch: pytest.MonkeyPatch,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
) -> None:
    from orchestrator.contracts import Command

    class AskOfTestCli(Command[str], service="answers"):
        pass

    url = database_url
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap_servers)
    monkeypatch.setenv("AMENDS_TOPIC_PREFIX", topic_prefix)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA amends CASCADE")
    assert amends("migrate", "tests.unit.client.app_of_sagas:app", "--shards", "2")[0] == exits.OK
    rows = {
        topic.removeprefix(topic_prefix): (partitions, topic_id)
        for topic, partitions, topic_id in ask(url, "SELECT topic, partitions, topic_id FROM amends.topics")
    }
    assert rows["sagas"][0] == 2
    assert rows["answers.commands"][0] == 4
    assert all(topic_id for _, topic_id in rows.values())


def test_what_waits_in_the_outbox_and_what_is_parked(amends: Amends, database_url: str) -> None:
    assert "nothing waits" in amends("outbox", "ls")[2]
    assert "nothing is parked" in amends("outbox", "dead")[2]
    amends("start", "checkout", "--id", "order-7")
    [waiting] = json.loads(amends("outbox", "ls", "--json")[1])
    assert (waiting["topic"], waiting["count"]) == ("sagas", 1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO amends.outbox_dead SELECT o.*, 'key', 'too large' FROM amends.outbox o")
    assert "too large" in amends("outbox", "dead")[1]
    assert "nothing is parked there" in amends("outbox", "redrive", "--topic", "elsewhere")[2]
    assert "1 rows are to be sent again" in amends("outbox", "redrive", "--topic", "sagas", "--key", "order-7")[2]
    assert ask(database_url, "SELECT redrive_at IS NOT NULL FROM amends.outbox_dead") == [(True,)]


def test_a_parked_row_can_be_given_up(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--id", "order-7")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO amends.outbox_dead SELECT o.*, 'key', 'too large' FROM amends.outbox o")
    [row] = json.loads(amends("outbox", "dead", "--json")[1])
    assert amends("outbox", "discard", str(row["seq"]))[0] == exits.OK
    assert amends("outbox", "discard", str(row["seq"]))[0] == exits.NOT_FOUND
    assert ask(database_url, "SELECT count(*) FROM amends.outbox_dead") == [(0,)]


def test_what_was_acknowledged_can_be_sent_again(amends: Amends, database_url: str) -> None:
    amends("start", "checkout", "--id", "order-7")
    with connect(database_url, "test") as session:
        sent.make_partitions(session, SENT_KEPT_S)
        table.delete_sent(session, [seq for (seq,) in session.execute("SELECT seq FROM amends.outbox")], ["A"])
    assert ask(database_url, "SELECT count(*) FROM amends.outbox") == [(0,)]
    assert "0 rows" in amends("outbox", "resend", "--topic", "elsewhere", "--since", "1h")[2]
    assert "1 rows acknowledged since" in amends("outbox", "resend", "--topic", "sagas", "--since", "30m")[2]
    assert ask(database_url, "SELECT aggregateid FROM amends.outbox") == [("order-7",)]
    assert amends("outbox", "resend", "--topic", "sagas", "--since", "2026-01-31T08:00:00+00:00")[0] == exits.OK


def test_the_relay_is_switched_and_looked_at(amends: Amends, database_url: str) -> None:
    code, out, _ = amends("relay", "status")
    assert code == exits.UNHEALTHY
    assert re.search(r"^state +never$", out, re.MULTILINE)
    assert amends("relay", "switch", "polling")[2].endswith("the next one obeys. See: amends relay status\n")
    switched = json.loads(amends("--json", "relay", "switch", "cdc", "--database", database_url)[1])
    assert (switched["wanted"], switched["at_work"]) == ("cdc", False)
    [found] = json.loads(amends("relay", "status", "--json")[1])
    assert (found["switched_to"], found["state"], found["alive"]) == ("cdc", "never", False)
    assert amends("relay", "switch", "default")[0] == exits.OK
    assert ask(database_url, "SELECT wanted_mode, wanted_at FROM amends.relay_lease") == [(None, None)]


def test_a_relay_beside_another_sender_is_not_switched(amends: Amends, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE amends.relay_lease SET state = 'external', holder = gen_random_uuid()")
    code, _, said = amends("relay", "switch", "cdc")
    assert code == exits.REFUSED
    assert "mode external" in said
    assert ask(database_url, "SELECT wanted_mode FROM amends.relay_lease") == [(None,)]


def test_options_of_the_relay_stand_behind_the_verb(amends: Amends) -> None:
    code, _, said = amends("relay", "--mode", "polling", "switch", "cdc")
    assert code == exits.USAGE
    assert "behind the verb" in said


def test_a_relay_that_sends_is_given_no_slot_of_somebody_elses(amends: Amends) -> None:
    code, _, said = amends("relay", "--slot", "debezium", "--mode", "cdc")
    assert code == exits.USAGE
    assert "--slot is of mode external" in said


def test_doctor_reads_what_the_relay_says_also_of_an_older_schema(amends: Amends, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE amends.relay_lease SET state = 'polling', beat_at = now(), health = '{\"slot\": \"s\"}'"
        )
        connection.execute("UPDATE amends.relay_slot SET lost = 'the slot is gone', lost_at = now()")
    _, out, _ = amends("doctor")
    assert "relay: polling for" in out
    assert "the slot is gone" in out
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE amends.relay_slot")
        connection.execute("ALTER TABLE amends.relay_lease DROP COLUMN state_at, DROP COLUMN wanted_mode")
        connection.execute("DELETE FROM amends.alembic_version WHERE version_num = 'outbox_0002'")
        connection.execute("INSERT INTO amends.alembic_version VALUES ('outbox_0001')")
    _, out, _ = amends("doctor")
    assert "outbox_0002 is missing" in out
    assert amends("relay", "status")[0] == exits.DEPENDENCY


def test_a_database_without_an_outbox_is_said_to_have_none(amends: Amends, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA amends CASCADE")
    code, _, said = amends("outbox", "ls")
    assert code == exits.DEPENDENCY
    assert "has no outbox: run `amends migrate`" in said
