"""Messages, starts and answers as they come in: too early, twice, too late, forged, unreadable. Nothing is lost."""

import json
from dataclasses import replace

import psycopg
from confluent_kafka import Producer

from orchestrator import Message, Saga, SyncClient, saga
from orchestrator.doctor import judge
from orchestrator.doctor_facts import postgres_facts
from orchestrator.messaging import avro, control, outgoing
from orchestrator.messaging.nonce import nonce_of
from orchestrator.messaging.topics import Topics
from orchestrator.problems import Problem
from outbox_relay.rows import Row, murmur2
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import Post


class Word(Message):
    text: str


@saga
async def listener(s: Saga, count: int) -> list[str]:
    return [(await s.receive(Word)).text for _ in range(count)]


@saga
async def on_two_channels(s: Saga, _: int) -> list[str]:
    right = await s.receive(Word, channel="right")
    return [right.text, (await s.receive(Word, channel="left")).text, (await s.receive(Word)).text]


@saga
async def speaker(s: Saga, to: str) -> None:
    s.send(to, Word(text=f"from {s.id}"))
    s.send(to, Word(text=f"again from {s.id}"))


@saga
async def asker(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=10))


SAGAS = (listener, on_two_channels, speaker, asker)


def produce(system: System, saga_id: str, payload: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Straight into the saga's shard, as anybody who may write to the topic can."""
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    topic = Topics(system.settings.topic_prefix).sagas
    producer.produce(topic, payload, saga_id.encode(), murmur2(saga_id.encode()) % SHARDS, headers=headers)
    assert producer.flush(30) == 0


def headers_of(row: Row) -> list[tuple[str, bytes]]:
    given = [("id", str(row.id or outgoing.message_uuid("x", "x")).encode()), ("type", row.type.encode())]
    return given + [(name, str(value).encode()) for name, value in row.headers.items() if value is not None]


def test_what_comes_before_its_saga_is_kept_and_delivered_in_order(system: System) -> None:
    system.relay()
    system.orchestrator(SAGAS)
    with SyncClient(system.settings) as client:
        for text in ("one", "two", "three"):
            client.send("early", Word(text=text))
        eventually(lambda: len(system.rows("SELECT 1 FROM amends.mailbox")) == 3, 30, "three in the mailbox")
        assert client.run(listener, 3, id="early", timeout=deadline(30)) == ["one", "two", "three"]
    assert system.rows("SELECT 1 FROM amends.mailbox") == []


def test_one_message_id_is_delivered_once_before_and_after_the_start(system: System) -> None:
    system.relay()
    system.orchestrator(SAGAS)
    with SyncClient(system.settings) as client:
        for _ in range(2):
            client.send("twice", Word(text="early"), message_id="m1")
        eventually(lambda: system.rows("SELECT 1 FROM amends.mailbox"), 30, "one in the mailbox")
        client.start(listener, 3, id="twice")
        for _ in range(2):
            client.send("twice", Word(text="early"), message_id="m1")
            client.send("twice", Word(text="second"), message_id="m2")
        client.send("twice", Word(text="third"))
        assert client.result(listener, "twice", timeout=deadline(30)) == ["early", "second", "third"]


def test_what_comes_after_the_end_lies_where_people_find_it(system: System) -> None:
    system.relay()
    system.orchestrator(SAGAS)
    with SyncClient(system.settings) as client:
        assert client.run(listener, 0, id="over", timeout=deadline(30)) == []
        client.send("over", Word(text="too late"))
    letter = eventually(
        lambda: system.rows("SELECT kind, saga_id, type, error, payload FROM amends.dead_letters"), 30, "a dead letter"
    )[0]
    assert letter[:3] == ("message", "over", "Word")
    assert "is over (completed)" in letter[3]
    assert b"too late" in letter[4]


def test_what_a_stranger_put_into_any_partition_reaches_its_saga_whoever_reads_it(system: System) -> None:
    """Two orchestrators: whatever one of them reads of the other's sagas, it can't write."""
    system.relay()
    for name in ("one", "two"):
        system.orchestrator(SAGAS, name=name)
    owners = "SELECT count(*), count(DISTINCT worker) FROM amends.shards WHERE worker IS NOT NULL"
    eventually(lambda: system.rows(owners) == [(SHARDS, 2)], 60, "the shards shared out between two")
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    with SyncClient(system.settings) as client:
        client.start(listener, SHARDS, id="astray")
        eventually(lambda: system.rows("SELECT 1 FROM amends.sagas WHERE status = 'running'"), 30, "its first turn")
        for shard in range(SHARDS):
            row = outgoing.message_row(
                topic=Topics(system.settings.topic_prefix).sagas, shard=shard, saga_id="astray", wire_name="Word",
                body={"text": str(shard)}, row_id=outgoing.message_uuid("astray", str(shard)),
            )  # fmt: skip
            producer.produce(row.topic, row.payload, b"", shard, headers=headers_of(row))
        assert producer.flush(30) == 0
        assert sorted(client.result(listener, "astray", timeout=deadline(30))) == [
            str(shard) for shard in range(SHARDS)
        ]
    ignored = "SELECT count FROM amends.ignored WHERE reason LIKE %s"
    assert system.rows(ignored, "%not its saga%") == [(SHARDS - 1,)]


def test_sagas_talk_to_each_other_and_channels_keep_apart(system: System) -> None:
    system.relay()
    system.orchestrator(SAGAS)
    with SyncClient(system.settings) as client:
        client.start(listener, 2, id="ear")
        client.start(speaker, "ear", id="mouth")
        assert client.result(listener, "ear", timeout=deadline(30)) == ["from mouth", "again from mouth"]
        client.start(on_two_channels, 0, id="two")
        client.send("two", Word(text="plain"))
        client.send("two", Word(text="l"), channel="left")
        client.send("two", Word(text="r"), channel="right")
        assert client.result(on_two_channels, "two", timeout=deadline(30)) == ["r", "l", "plain"]


def test_a_start_that_a_stranger_wrote_badly_is_a_dead_letter_and_the_shard_goes_on(system: System) -> None:
    """Also what is no JSON: it would end whoever begins the saga, and the next who tries."""
    system.relay()
    system.orchestrator(SAGAS)
    wrong: dict[str, dict[str, object]] = {
        "damaged": {"input": "{not json"},
        "nan": {"input": "NaN"},
        "deep": {"input": "[" * 100_000},
        "nul": {"input": '"\\u0000"'},
        "no-uuid": {"uid": "me"},
        "no-version": {"version": 2**40},
    }
    with SyncClient(system.settings) as client:
        for name, fields in wrong.items():
            given = replace(start_of(listener, 0), **fields)  # type: ignore[arg-type]
            row = outgoing.start_row(topic="-", shard=0, saga_id=name, start=given)
            produce(system, name, row.payload or b"", headers_of(row))
        eventually(lambda: len(system.rows("SELECT 1 FROM amends.dead_letters")) == len(wrong), 30, "the dead letters")
        assert {saga_id for (saga_id,) in system.rows("SELECT saga_id FROM amends.dead_letters")} == wrong.keys()
        for n in range(SHARDS * 2):
            assert client.run(listener, 0, id=f"after-{n}", timeout=deadline(30)) == []


def test_a_start_whose_json_is_written_in_another_way_is_the_same_start(system: System) -> None:
    system.relay()
    system.orchestrator(SAGAS)
    with SyncClient(system.settings) as client:
        for text in (" 0", "0\n", "0"):
            row = outgoing.start_row(
                topic="-", shard=0, saga_id="spaced", start=replace(start_of(listener, 0), input=text)
            )
            produce(system, "spaced", row.payload or b"", headers_of(row))
        assert system.ended(["spaced"]) == {"spaced": "completed"}
        assert client.start(listener, 0, id="spaced").created is False
    again = "SELECT count FROM amends.ignored WHERE reason = 'start of a saga that has begun'"
    eventually(lambda: system.rows(again) == [(2,)], 30, "two starts that were no news")
    assert system.rows("SELECT 1 FROM amends.dead_letters") == []


def test_a_start_with_a_taken_id_from_elsewhere_is_a_dead_letter_that_doctor_names(system: System) -> None:
    """A service's own database does not know which ids are taken: only here is it found out."""
    system.relay()
    system.orchestrator(SAGAS)
    with SyncClient(system.settings) as client:
        assert client.run(listener, 0, id="taken", timeout=deadline(30)) == []
        row = outgoing.start_row(topic="-", shard=0, saga_id="taken", start=start_of(listener, 1))
        produce(system, "taken", row.payload or b"", headers_of(row))
        eventually(lambda: system.rows("SELECT 1 FROM amends.dead_letters"), 30, "the dead letter")
        (letter,) = system.rows("SELECT kind, saga_id, error FROM amends.dead_letters")
        assert letter[:2] == ("start", "taken")
        assert "belongs to another saga" in letter[2]
        findings = judge(postgres_facts(system.settings), None)
        assert any("1 messages that nobody could take" in str(finding) for finding in findings)
        # The same start once more is no news, and a new id is.
        again = outgoing.start_row(topic="-", shard=0, saga_id="taken", start=start_of(listener, 0))
        produce(system, "taken", again.payload or b"", headers_of(again))
        new = outgoing.start_row(topic="-", shard=0, saga_id="new", start=start_of(listener, 0))
        produce(system, "new", new.payload or b"", headers_of(new))
        assert system.ended(["taken", "new"]) == {"taken": "completed", "new": "completed"}
    assert len(system.rows("SELECT 1 FROM amends.dead_letters")) == 1


def start_of(saga_type, input):
    from uuid import uuid4

    return control.Start(
        uid=str(uuid4()),
        type=saga_type.name,
        version=saga_type.version,
        input=json.dumps(input),
        parent_id=None,
        parent_key=None,
        parent_reply_to=None,
    )


def test_a_forged_reply_is_counted_and_changes_nothing(books: System) -> None:
    books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client, psycopg.connect(books.url) as blocker:
        blocker.execute("LOCK TABLE bookings IN ACCESS EXCLUSIVE MODE")  # the participant can't answer meanwhile
        client.start(asker, "f", id="f")
        key = eventually(
            lambda: books.rows("SELECT uid::text || ':0:0' FROM amends.sagas WHERE status = 'running'"), 30, "the call"
        )[0][0]
        to = outgoing.ReturnAddress(reply_to="-/0", saga_id="f", operation_key=key, attempt=1, nonce="0" * 32)
        forged = outgoing.succeeded_row(to, command=Post, body=1_000_000)
        produce(books, "f", forged.payload or b"", headers_of(forged))
        without = [header for header in headers_of(forged) if header[0] != "nonce"]
        produce(books, "f", forged.payload or b"", without)
        eventually(
            lambda: books.rows("SELECT 1 FROM amends.ignored WHERE starts_with(reason, 'forged') AND count = 2"),
            30,
            "two counted",
        )
        assert books.rows("SELECT status FROM amends.sagas") == [("running",)]
        blocker.rollback()
        assert client.result(asker, "f", timeout=deadline(30)) == 10


def test_a_failure_whose_fields_can_not_be_kept_is_a_dead_letter_and_the_shard_goes_on(system: System) -> None:
    """JSON can escape half a surrogate pair, as JavaScript does; no journal can hold one."""
    system.relay()
    system.orchestrator(SAGAS)
    ((secret,),) = system.rows("SELECT nonce_secret FROM amends.installation")
    wrong = {"half": '{"amount":"\\ud800"}', "nul": '{"amount":"\\u0000"}', "list": "[1]", "damaged": '{"amount":'}
    fields = {**wrong, "deep": f'{{"amount":{"[" * 900}{"]" * 900}}}', "other": '{"what": "\\ud83d\\ude00"}'}
    with SyncClient(system.settings) as client:
        for name, text in fields.items():
            client.start(asker, name, id=name)
            running = "SELECT uid::text || ':0:0' FROM amends.sagas WHERE status = 'running' AND id = %s"
            key = eventually(lambda: system.rows(running, name), 30, "the call")[0][0]  # noqa: B023
            nonce = nonce_of(bytes(secret), key)
            to = outgoing.ReturnAddress(reply_to="-/0", saga_id=name, operation_key=key, attempt=1, nonce=nonce)
            no = Problem(kind="failure", type="TooMuch", effect="none")
            row = outgoing.refused_row(to, outcome="failed", problem=no)
            payload = control.ProblemRecord.codec.encode({**avro.decode(row.payload or b""), "fields": text})
            produce(system, name, payload, headers_of(row))
        assert system.ended(["deep", "other"]) == {"deep": "failed", "other": "failed"}
        letters = "SELECT saga_id FROM amends.dead_letters"
        eventually(lambda: {name for (name,) in system.rows(letters)} == wrong.keys(), 30, "the dead letters")
        for n in range(SHARDS * 2):
            assert client.run(listener, 0, id=f"after-{n}", timeout=deadline(30)) == []


def test_what_nobody_can_read_goes_to_the_dead_letters_and_the_shard_goes_on(system: System) -> None:
    system.relay()
    system.orchestrator(SAGAS)
    good = outgoing.message_row(topic="-", shard=0, saga_id="u", wire_name="Word", body={"text": "x"})
    rubbish = [
        (b"", []),
        (b"\x00\xff not Avro", [("kind", b"message"), ("saga_id", b"u"), ("type", b"Word"), ("id", b"no uuid")]),
        (b"\xc3\x01" + b"\x00" * 8, headers_of(good)),  # a schema that nobody knows
        ((good.payload or b"")[:-1], headers_of(good)),  # cut off
        (good.payload or b"", [("id", b"order-7"), *headers_of(good)[1:]]),  # doubles could not be told
        (b"", [("kind", b"reply"), ("saga_id", b"u"), ("operation_key", b"u"), ("outcome", b"succeeded")]),
        (b"{}", [("kind", b"start"), ("saga_id", b"u"), ("type", b"listener")]),
        (b"", [("kind", b"what"), ("saga_id", b"u")]),
        (b"", [("kind", b"message"), ("saga_id", b"\xff\xfe")]),
    ]
    with SyncClient(system.settings) as client:
        client.start(listener, 1, id="u")
        eventually(lambda: system.rows("SELECT 1 FROM amends.sagas WHERE status = 'running'"), 30, "its first turn")
        for payload, headers in rubbish:
            produce(system, "u", payload, headers)
        client.send("u", Word(text="after"))
        assert client.result(listener, "u", timeout=deadline(30)) == ["after"]
    letters = system.rows("SELECT error FROM amends.dead_letters")
    assert len(letters) == len(rubbish), letters
    assert system.rows("SELECT status FROM amends.sagas") == [("completed",)]
