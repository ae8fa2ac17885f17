"""Every kind of message: from its builder, over the headers as the relay writes them, back to an Envelope."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import limits
from orchestrator.contracts import Command, Event, Message
from orchestrator.errors import DefinitionError, Failure, PayloadError
from orchestrator.messaging import avro, outgoing
from orchestrator.messaging.control import ChildEnded, ProblemRecord, Settled, Start, Undo, from_json_text
from orchestrator.messaging.envelope import KINDS, Envelope, Unreadable, read_envelope
from orchestrator.messaging.events import event_row
from orchestrator.messaging.nonce import is_genuine, nonce_of
from orchestrator.messaging.outgoing import Request, ReturnAddress
from orchestrator.messaging.topics import Topics
from orchestrator.problems import Problem, exception_of, problem_of
from outbox_relay.rows import HEADER_COLUMNS, Row, kafka_headers

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = b"only the orchestrator knows"


class RideBooked(Message):
    ref: str


class BookRide(Command[RideBooked], service="couriers"):
    order_id: str


class WipeRides(Command[None], service="couriers"):
    order_id: str


class RideDone(Event, topic="deliveries", key="number"):
    number: int
    note: str = ""


class NoRider(Failure):
    reason: str


def carried(row: Row) -> Envelope:
    """As the relay writes it, which must be as Debezium does: that one has a null for every empty column."""
    assert row.headers.keys() <= set(HEADER_COLUMNS)
    columns = [row.headers[name].encode() if name in row.headers else None for name in HEADER_COLUMNS]
    ours = kafka_headers(12, (row.id or "some-id").encode(), row.type.encode(), columns)
    absent = [(name, None) for name in HEADER_COLUMNS if name not in row.headers]
    envelopes = [
        read_envelope(
            topic=row.topic,
            partition=row.partition or 0,
            offset=7,
            timestamp_ms=1,
            key=row.key.encode(),
            headers=headers,
            payload=row.payload,
        )
        for headers in (ours, [*ours, *absent])
    ]
    assert envelopes[0] == envelopes[1]
    assert isinstance(envelopes[0], Envelope), envelopes[0]
    return envelopes[0]


REQUEST = Request(
    topic="t.couriers.commands",
    saga_id="o-1",
    operation_key="uid:0:3",
    attempt=2,
    type="BookRide",
    reply_to="t.sagas/5",
    nonce=nonce_of(SECRET, "uid:0:3"),
    expires_at="2026-01-02T00:00:00+00:00",
    traceparent=TRACE,
)
ADDRESS = ReturnAddress(
    reply_to="t.sagas/5", saga_id="o-1", operation_key="uid:0:3", attempt=2, nonce="n", traceparent=TRACE
)


def test_a_command_says_where_its_answer_goes():
    got = carried(outgoing.command_row(REQUEST, {"order_id": "1"}))
    assert (got.topic, got.key, got.kind, got.type, got.attempt) == (
        "t.couriers.commands",
        "o-1",
        "command",
        "BookRide",
        2,
    )
    assert (got.expires_at, got.traceparent) == (REQUEST.expires_at, TRACE)
    assert avro.decode(got.payload) == {"order_id": "1"}
    assert ReturnAddress.of(got) == ReturnAddress(
        reply_to="t.sagas/5",
        saga_id="o-1",
        operation_key="uid:0:3",
        attempt=2,
        nonce=REQUEST.nonce,
        traceparent=TRACE,
    )


@pytest.mark.parametrize(
    ("command", "known", "reply"),
    [
        ("BookRide", "done", {"ref": "r"}),
        ("BookRide", "unknown", None),
        ("WipeRides", "done", None),
        ("WipeRides", "unknown", None),
    ],
)
def test_an_undo_brings_all_that_an_empty_inbox_needs(command, known, reply):
    request = Request(**{name: getattr(REQUEST, name) for name in REQUEST.__slots__} | {"type": command})
    row = outgoing.undo_row(request, body={"order_id": "1"}, known=known, reply=reply, attempts=3, sent_at_us=99)
    got = carried(row)
    undo = Undo.decode(got.payload)
    assert (got.kind, got.outcome, got.operation_key, got.attempt) == ("undo", known, "uid:0:3", 2)
    assert avro.decode(undo.command) == {"order_id": "1"}
    assert (undo.attempts, undo.sent_at_us) == (3, 99)
    if known == "done":
        assert avro.decode(undo.reply) == reply
    else:
        assert undo.reply is None


def test_the_largest_undo_fits_into_a_kafka_message():
    biggest = "x" * (limits.PAYLOAD_BYTES_MAX - 20)
    row = outgoing.undo_row(
        REQUEST, body={"order_id": biggest}, known="done", reply={"ref": biggest}, attempts=1, sent_at_us=0
    )
    headers = sum(len(name) + len(value) + 8 for name, value in row.headers.items())
    assert len(row.payload) + len(row.key) + headers + 500 < limits.MESSAGE_BYTES_MAX
    with pytest.raises(PayloadError, match=r"BookRide: .*bytes"):
        outgoing.command_row(REQUEST, {"order_id": biggest + "x" * 50})


def test_settled():
    got = carried(outgoing.settled_row(topic="t.couriers.commands", saga_id="o-1", keys=["a", "b"]))
    assert (got.kind, got.key, Settled.decode(got.payload).keys) == ("settled", "o-1", ("a", "b"))


def test_start_and_message_go_to_the_shard():
    start = Start(uid="u", type="checkout", version=1, input='{"a":1}', parent_id="p")
    got = carried(outgoing.start_row(topic="t.sagas", shard=5, saga_id="o-1", start=start, traceparent=TRACE))
    assert (got.kind, got.type, got.partition, got.saga_id, got.key) == ("start", "checkout", 5, "o-1", "o-1")
    assert Start.decode(got.payload) == start

    row_id = outgoing.message_uuid("o-1", "m-1")
    row = outgoing.message_row(
        topic="t.sagas", shard=5, saga_id="o-1", wire_name="RideBooked", body={"ref": "r"}, channel="c", row_id=row_id
    )
    got = carried(row)
    assert (got.kind, got.type, got.channel, got.id) == ("message", "RideBooked", "c", row_id)
    assert row_id == outgoing.message_uuid("o-1", "m-1") != outgoing.message_uuid("o-2", "m-1")


@pytest.mark.parametrize(("command", "body"), [(BookRide, {"ref": "r"}), (WipeRides, None)])
def test_a_reply_carries_the_address_back(command, body):
    got = carried(outgoing.succeeded_row(ADDRESS, command=command, body=body))
    assert (got.topic, got.partition, got.key) == ("t.sagas", 5, "o-1")
    assert (got.kind, got.outcome, got.operation_key, got.attempt) == ("reply", "succeeded", "uid:0:3", 2)
    assert (got.nonce, got.traceparent) == ("n", TRACE)
    assert avro.decode(got.payload) == body


@pytest.mark.parametrize("outcome", ["failed", "retry", "conflict"])
def test_every_other_reply_carries_a_problem(outcome):
    problem = problem_of(NoRider(reason="strike"))
    got = carried(outgoing.refused_row(ADDRESS, outcome=outcome, problem=problem))
    assert (got.kind, got.outcome, got.type) == ("reply", outcome, "NoRider")
    assert exception_of(ProblemRecord.decode(got.payload).problem) == NoRider(reason="strike")


def test_a_no_arrives_even_if_its_fields_are_too_large():
    problem = problem_of(NoRider(reason="x" * limits.MESSAGE_BYTES_MAX))
    got = carried(outgoing.refused_row(ADDRESS, outcome="failed", problem=problem))
    again = ProblemRecord.decode(got.payload).problem
    assert (again.kind, again.type, again.effect, again.fields) == ("failure", "NoRider", "none", {})
    assert isinstance(exception_of(again), Failure)


def test_undone_with_and_without_a_problem():
    got = carried(outgoing.undone_row(ADDRESS, outcome="undone"))
    assert (got.kind, got.outcome, got.payload) == ("undone", "undone", b"")
    got = carried(outgoing.undone_row(ADDRESS, outcome="failed", problem=Problem(kind="error", type="KeyError")))
    assert (got.outcome, got.type, ProblemRecord.decode(got.payload).problem.type) == ("failed", "KeyError", "KeyError")


@pytest.mark.parametrize(
    "ended",
    [
        ChildEnded(outcome="succeeded", result={"a": [1.5, None]}),
        ChildEnded(outcome="succeeded", result=None),
        ChildEnded(outcome="failed", problem=Problem(kind="failure", type="NoRider", fields={"reason": "x"})),
    ],
)
def test_a_childs_end_and_its_undo(ended):
    got = carried(outgoing.child_ended_row(ADDRESS, ended=ended))
    assert (got.kind, got.key, got.operation_key, got.outcome) == ("child_ended", "o-1", "uid:0:3", ended.outcome)
    assert ChildEnded.decode(got.payload) == ended
    row = outgoing.child_undo_row(
        topic="t.sagas", shard=2, child_id="c-1", operation_key="uid:0:3", attempt=1, reply_to="t.sagas/5", nonce="n"
    )
    got = carried(row)
    assert (got.kind, got.key, got.saga_id, got.partition) == ("child_undo", "c-1", "c-1", 2)
    assert ReturnAddress.of(got).reply_to == "t.sagas/5"


def test_an_event_is_ordered_by_its_key(monkeypatch):
    row = event_row(RideDone(number=7), topics=Topics("t."), event_id="e-1", traceparent=TRACE)
    got = carried(row)
    assert (got.topic, got.key, got.kind, got.type, got.id) == ("t.deliveries", "7", "event", "RideDone", "e-1")
    assert row.partition is None
    monkeypatch.setenv("AMENDS_TOPIC_PREFIX", "env.")
    assert RideDone(number=7).__outbox__().topic == "env.deliveries"


def test_an_event_without_a_usable_key_is_refused():
    class Keyed(Event, topic="t", key="name"):
        name: str | None

    for name in (None, "", "x" * 2000):
        with pytest.raises(PayloadError, match=r"Keyed\.name"):
            event_row(Keyed(name=name), topics=Topics())


def test_a_class_that_is_not_imported_is_named():
    with pytest.raises(DefinitionError, match="NotHere"):
        outgoing.class_named("NotHere")
    with pytest.raises(DefinitionError, match="no command"):
        outgoing.command_named("RideBooked")


@pytest.mark.parametrize(
    "address", ["", "sagas", "/1", "sagas/", "sagas/-1", "sagas/x", "sagas/1²", "sagas/9999999999"]
)
def test_a_reply_address_of_anybody(address):
    with pytest.raises(PayloadError, match="reply_to"):
        outgoing.partition_of(address)


def test_the_longest_name_of_a_problem_fits_its_column():
    got = outgoing.refused_row(ADDRESS, outcome="failed", problem=Problem(kind="error", type="E" * 1000))
    assert len(got.type) == 255


# ---- reading what anybody may have written ---------------------------------------------------------------------------

GOOD = [("id", b"1"), ("type", b"T"), ("kind", b"message")]


def read(headers, key=b"k", payload=b""):
    return read_envelope(topic="t", partition=1, offset=2, timestamp_ms=3, key=key, headers=headers, payload=payload)


def test_null_headers_are_missing_ones_and_foreign_headers_are_left_alone():
    got = read([*GOOD, ("nonce", None), ("attempt", None), ("x-foreign", b"\xff" * 9000), ("x-foreign", None)])
    assert isinstance(got, Envelope)
    assert (got.nonce, got.attempt, got.payload) == (None, 1, b"")
    assert isinstance(read(GOOD[:2]), Envelope)  # an event of somebody else's outbox


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (GOOD[1:], "no header id"),
        ([("id", b""), *GOOD[1:]], "no header id"),
        (GOOD[::2], "no header type"),
        ([*GOOD[:2], ("kind", b"nonsense")], "nonsense"),
        ([*GOOD, ("id", b"2")], "twice"),
        ([*GOOD, ("saga_id", b"x" * 1025)], "saga_id has 1025 bytes"),
        ([*GOOD, ("saga_id", b"\xff")], "not UTF-8"),
        ([*GOOD, ("saga_id", b"a\x00")], "NUL"),
        ([*GOOD, ("attempt", b"0")], "attempt"),
        ([*GOOD, ("attempt", b"-1")], "attempt"),
        ([*GOOD, ("attempt", "²".encode())], "attempt"),
        ([*GOOD, ("attempt", b"9" * 400)], "attempt"),
        ([(f"x{n}", b"") for n in range(65)], "65 headers"),
    ],
)
def test_what_is_none_of_ours_goes_to_the_dead_letters_with_a_reason(headers, says):
    got = read(headers)
    assert isinstance(got, Unreadable)
    assert says in got.error
    assert (got.topic, got.partition, got.offset) == ("t", 1, 2)
    assert len(got.headers) <= 64


def test_headers_may_be_long_together_as_long_as_none_is():
    """They are looked at all at once first."""
    long = b"x" * limits.HEADER_BYTES_MAX
    got = read([*GOOD, ("saga_id", long), ("reply_to", long), ("channel", b"")], key=long)
    assert isinstance(got, Envelope)
    assert (got.key, got.saga_id, got.reply_to, got.channel) == (long.decode(), long.decode(), long.decode(), "")
    assert "header nonce has 1025 bytes" in read([*GOOD, ("saga_id", long), ("nonce", long + b"x")]).error
    assert "key has 1025 bytes" in read(GOOD, key=long + b"x").error
    # A NUL at the seam of two, and one that stands alone.
    assert "header nonce holds a NUL" in read([*GOOD, ("saga_id", b"a"), ("nonce", b"\0b")]).error
    assert "key holds a NUL" in read(GOOD, key=b"\0").error


def test_a_key_or_a_payload_that_is_none_of_ours():
    assert "key is not UTF-8" in read(GOOD, key=b"\xff").error
    assert "tombstone" in read(GOOD, payload=None).error
    assert read(GOOD, key=None).key == ""


@given(
    st.lists(st.tuples(st.sampled_from(["id", "type", *HEADER_COLUMNS, "other"]), st.none() | st.binary(max_size=40))),
    st.none() | st.binary(),
    st.none() | st.binary(),
)
def test_reading_never_raises(headers, key, payload):
    got = read(headers, key, payload)
    assert isinstance(got, Envelope | Unreadable)
    if isinstance(got, Envelope):
        assert got.kind is None or got.kind in KINDS


# ---- nonces and names ------------------------------------------------------------------------------------------------


def test_only_the_secret_makes_a_nonce():
    nonce = nonce_of(SECRET, "uid:0:3")
    assert len(nonce) == 32
    assert is_genuine(SECRET, "uid:0:3", nonce)
    assert not is_genuine(SECRET, "uid:0:4", nonce)
    assert not is_genuine(b"another", "uid:0:3", nonce)
    for forged in (None, "", "ä", nonce[:-1], nonce.upper() + "x"):
        assert not is_genuine(SECRET, "uid:0:3", forged)


def test_names_of_topics():
    topics = Topics("shop.")
    assert (topics.sagas, topics.commands("stock"), topics.events("orders")) == (
        "shop.sagas",
        "shop.stock.commands",
        "shop.orders",
    )
    needed = topics.needed([BookRide, WipeRides, RideDone, RideBooked], shards=16)
    assert needed == {"shop.sagas": 16, "shop.couriers.commands": 4, "shop.deliveries": 4}
    with pytest.raises(DefinitionError):
        Topics("a b")
    with pytest.raises(DefinitionError, match="249"):
        Topics("x" * 245).sagas  # noqa: B018


@pytest.mark.parametrize("text", ["{", "NaN", '"\\ud800"', '{"a":["\\u0000"]}', "[" * 100_000, "1" * 5_000])
def test_json_that_can_not_be_kept_is_undecodable(text):
    with pytest.raises(avro.Undecodable):
        from_json_text(text)


@pytest.mark.parametrize(("text", "value"), [('"\\ud83d\\ude00"', "😀"), ('"\\\\u0000"', "\\u0000"), ("[1.0]", [1.0])])
def test_json_that_others_wrote_in_their_way_is_read(text, value):
    assert from_json_text(text) == value
