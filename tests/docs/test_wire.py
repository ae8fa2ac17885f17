"""docs/reference/wire.md is what the code does: names, numbers, tables and bytes."""

import json
import re
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, get_args, get_type_hints
from uuid import UUID

import pytest
from pydantic import create_model

from orchestrator import Message, Participant, Retry, Saga, Transaction, limits, saga
from orchestrator.core.ids import OperationKey
from orchestrator.engine import inbound
from orchestrator.engine.batch import Batch, ShardWrites
from orchestrator.engine.processing import Known
from orchestrator.messaging import avro, control, envelope, outgoing, topics
from orchestrator.migrations.fill import SHARDS_DEFAULT
from orchestrator.participant import inbox_states, requests
from orchestrator.participant.inbox_states import TRANSITIONS, InboxContradiction, InboxRow, decide
from orchestrator.problems import Problem, problem_of
from outbox_relay.rows import HEADER_COLUMNS, Row
from services.contracts import CardDeclined, ChargeCard, Charged
from tests.docs.pages import BLOCK, ROOT
from tests.integration.participant.desk import envelope_of
from tests.integration.wire.foreign_participant import TABLE
from tests.rules.inside import NOBODY, SHARD, Inside
from tests.unit.core.shop import BUSY, Print

PAGE = (ROOT / "docs" / "reference" / "wire.md").read_text()
PROSE = " ".join(BLOCK.sub("", PAGE).split())
CODE = re.compile(r"`([^`]+)`")


def section(title: str) -> str:
    """What stands below a heading, up to the next of its own height or a higher one."""
    hashes = title.partition(" ")[0]
    below = PAGE.partition(f"\n{title}\n")[2]
    assert below, f"the page has no {title}"
    return re.split(rf"^#{{2,{len(hashes)}}} ", below, flags=re.MULTILINE)[0]


def tables(title: str) -> list[list[list[str]]]:
    """The tables of a section: their rows without the heading, each a list of cells."""
    found: list[list[list[str]]] = [[]]
    for line in section(title).splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return [rows[2:] for rows in found if rows]


def word(cell: str) -> str:
    (found,) = CODE.findall(cell)
    return found


# ---- headers, kinds, outcomes ------------------------------------------------------------------------------------


def test_every_header_of_the_code_stands_there_and_no_other() -> None:
    (rows,) = tables("## Headers")
    assert [word(row[0]) for row in rows] == ["id", "type", "seq", *HEADER_COLUMNS]


def test_every_kind_is_somebodys() -> None:
    (rows,) = tables("## Who sends what")
    assert {kind for row in rows for kind in CODE.findall(row[3])} == envelope.KINDS


def test_every_outcome_of_an_answer_stands_there_and_in_the_headers() -> None:
    refused, undone = (get_args(get_type_hints(f)["outcome"]) for f in (outgoing.refused_row, outgoing.undone_row))
    known = get_args(get_type_hints(outgoing.undo_row)["known"])
    answers = tables("## What a participant answers")[0]
    assert [(word(row[0]), word(row[1])) for row in answers] == [
        ("reply", "succeeded"),
        *(("reply", outcome) for outcome in refused),
        *(("undone", outcome) for outcome in undone),
    ]
    headers = {word(row[0]): row[1] for row in tables("## Headers")[0]}
    listed = ["reply", "succeeded", *refused, "undone", *undone, "undo", *known]
    assert CODE.findall(headers["outcome"]) == listed


def test_what_a_participant_is_sent_has_the_headers_that_stand_there() -> None:
    (rows, _) = tables("## What a participant is sent")
    request = a_request()
    body = ChargeCard(order_id="1", card="1", amount=Decimal(1)).model_dump(mode="json")
    undo = outgoing.undo_row(request, body=body, known="unknown", reply=None, attempts=1, sent_at_us=1)
    settled = outgoing.settled_row(topic="t", saga_id="s", keys=["k"])
    sent = {row.headers["kind"]: set(row.headers) for row in (outgoing.command_row(request, body), undo, settled)}
    said = {word(row[0]): {"kind", *CODE.findall(row[1])} for row in rows}
    said["undo"] |= said["command"]
    assert said == sent


# ---- numbers -------------------------------------------------------------------------------------------------------

DAY_S = 86_400


@pytest.mark.parametrize(
    "phrase",
    [
        f"at most {envelope.HEADERS_MAX} of them, at most {limits.HEADER_BYTES_MAX:,} bytes each",
        f"at most {envelope._ATTEMPT_DIGITS_MAX} digits",
        f"headers has at most {limits.MESSAGE_BYTES_MAX:,} bytes, its payload at most {limits.PAYLOAD_BYTES_MAX:,}",
        f"At most {limits.PAYLOAD_DEPTH_MAX} records in each other and {limits.PAYLOAD_ITEMS_MAX:,} values",
        f"At most {limits.SAGA_ID_CHARS_MAX} characters.",
        f"At most {outgoing._TYPE_CHARS_MAX} characters.",
        f"For people; at most {limits.ERROR_TEXT_CHARS_MAX:,} characters.",
        f"again after {limits.RESEND_FIRST_S:g} s, an undo after {limits.UNDO_REPEAT_S:g} s",
        f"keep it for {limits.INBOX_HORIZON_S // DAY_S} days at least",
        f"with {topics.PARTITIONS_DEFAULT} partitions each",
        f"({SHARDS_DEFAULT} unless the first `migrate`",
    ],
)
def test_a_number_of_the_page_is_the_codes(phrase: str) -> None:
    assert phrase in PROSE


def test_an_expiry_is_a_day() -> None:
    assert limits.COMMAND_EXPIRES_S == DAY_S
    assert "missing: a day after Kafka's timestamp" in PROSE


# ---- payloads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "index", "record"),
    [
        ("## What a participant is sent", 1, "Undo"),
        ("## What a participant answers", 1, "Problem"),
        ("## Start a saga, send it a message", 0, "Start"),
    ],
)
def test_our_own_records_have_the_fields_that_stand_there(title: str, index: int, record: str) -> None:
    fields = [field["name"] for field in control.SCHEMAS[record]["fields"]]
    assert [word(row[0]) for row in tables(title)[index]] == fields
    assert (ROOT / "schemas" / "amends" / f"{record}.avsc").exists()


def test_the_words_of_a_problem_are_the_codes() -> None:
    fields = {word(row[0]): CODE.findall(row[1]) for row in tables("## What a participant answers")[1]}
    assert sorted(fields["kind"]) == sorted(control._ALLOWED["kind"])
    assert tuple(fields["effect"]) == control._ALLOWED["effect"]


class Colour(Enum):
    RED = "red"


class Tea(Message, name="WirePageTea"):
    sku: str


TYPES: dict[str, tuple[Any, str]] = {
    "`str`": (str, "string"),
    "`int`": (int, "long"),
    "`float`": (float, "double"),
    "`bool`": (bool, "boolean"),
    "`None`": (None, "null"),
    "`Decimal`": (Decimal, "string"),
    "`datetime`": (datetime, "string"),
    "`date`": (date, "string"),
    "`time`": (time, "string"),
    "`timedelta`": (timedelta, "string"),
    "`UUID`": (UUID, "string"),
    "`bytes`": (bytes, "string"),
    "an enum, a literal": (Colour, "string"),
    "`list[str]`, `tuple[str, ...]`": (tuple[str, ...], "array"),
    "`dict[str, int]`": (dict[str, int], "map"),
    "another message": (Tea, "record"),
    "`str | None`, any union": (str | None, "union"),
}
VALUES = {row[0]: row for row in tables("## Payloads")[1]}


def test_every_type_of_the_table_is_tried() -> None:
    assert VALUES.keys() == TYPES.keys()


@pytest.mark.parametrize("label", TYPES)
def test_a_value_travels_as_the_table_says(label: str) -> None:
    tp, kind = TYPES[label]
    _, said, example = VALUES[label]
    model: Any = create_model("WirePage", __base__=Message, field=(tp, ...))
    (field,) = avro.schema_of(model)["fields"]
    schema = field["type"]
    found = "union" if isinstance(schema, list) else schema["type"] if isinstance(schema, dict) else schema
    assert found == kind
    assert kind == "string" or f"`{kind}`" in said
    text = f'{{"field":{word(example)}}}'
    given = model.model_validate_json(text)
    assert json.loads(given.model_dump_json()) == json.loads(text)
    assert avro.decode(avro.encode(model, given.model_dump(mode="json"))) == json.loads(text)


# ---- two messages in full --------------------------------------------------------------------------------------------

EXAMPLES = BLOCK.findall(section("## Two messages in full"))


def blocks(language: str) -> list[str]:
    return [text for found, text in EXAMPLES if found == language]


def hex_of(block: str) -> bytes:
    """The bytes at the beginning of each line; what they mean stands behind three blanks."""
    return b"".join(bytes.fromhex(line.partition("   ")[0]) for line in block.splitlines())


def headers_of(block: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.splitlines())  # type: ignore[misc]


def a_request() -> outgoing.Request:
    said = headers_of(blocks("headers")[0])
    same = ("saga_id", "operation_key", "type", "reply_to", "nonce", "expires_at")
    values: dict[str, Any] = {name: said[name] for name in same}
    return outgoing.Request(topic="payments.commands", attempt=int(said["attempt"]), **values)


def sent(row: Row) -> dict[str, str]:
    return {"type": row.type, **row.headers}


def test_the_command_is_what_the_code_writes() -> None:
    command = ChargeCard(order_id="order-7", card="4242", amount=Decimal("45.00"))
    row = outgoing.command_row(a_request(), command.model_dump(mode="json"))
    assert hex_of(blocks("hex")[0]) == row.payload
    said = headers_of(blocks("headers")[0])
    UUID(said.pop("id"))
    assert said == sent(row)
    assert list(said) == list(sent(row))
    canonical = avro.to_parsing_canonical_form(avro.codec_of(ChargeCard).schema)
    assert blocks("json") == [f"{canonical}\n"]
    OperationKey.parse(said["operation_key"])


def test_the_answers_are_what_the_code_writes_and_reads() -> None:
    request = a_request()
    to = outgoing.ReturnAddress(
        reply_to=request.reply_to,
        saga_id=request.saga_id,
        operation_key=request.operation_key,
        attempt=1,
        nonce=request.nonce,
    )
    yes = outgoing.succeeded_row(to, command=ChargeCard, body=Charged(charge_id="ch-1").model_dump(mode="json"))
    said = headers_of(blocks("headers")[1])
    UUID(said.pop("id"))
    assert (hex_of(blocks("hex")[1]), said, yes.partition) == (yes.payload, sent(yes), 5)
    no = outgoing.refused_row(to, outcome="failed", problem=problem_of(CardDeclined(reason="expired")))
    assert sent(no) == said | {"type": "CardDeclined", "outcome": "failed"}
    read = control.ProblemRecord.decode(hex_of(blocks("hex")[2])).problem
    assert read == Problem(kind="failure", type="CardDeclined", fields={"reason": "expired"}, effect="none")


# ---- the inbox -------------------------------------------------------------------------------------------------------

INBOX = "## What a participant remembers"


def test_the_table_of_the_inbox_is_the_codes() -> None:
    rows = tables("### If you call somebody outside")[1]
    told = [((state, event), (after, what)) for state, events, after, what in rows for event in CODE.findall(events)]
    assert len(told) == len(dict(told))
    assert dict(told) == TRANSITIONS


def test_the_events_of_the_inbox_are_the_codes_and_so_are_those_that_leave_it_in_doubt() -> None:
    rows = tables("### If you call somebody outside")[0]
    assert {word(row[0]) for row in rows} == set(get_args(inbox_states.Event))
    assert {word(row[0]) for row in rows if "(in doubt" in row[1]} == inbox_states._DOUBTFUL


def after_all(state: Any, event: Any) -> set[str] | None:
    """The states that a participant can be left in which does everything in one transaction; None: it can't come."""
    try:
        row, action = decide(InboxRow("k", state), event)
    except InboxContradiction:
        return None
    ends: dict[str, tuple[Any, ...]] = {"run": ("succeeded", "declined", "postponed"), "undo": ("undo_ended",)}
    return {decide(row, end)[0].state for end in ends[action]} if action in ends else {row.state}


def test_the_short_table_is_what_is_left_of_the_long_one_without_calls_to_the_outside() -> None:
    (rows,) = tables("### If all you do is in the database of your inbox")
    short: dict[tuple[str, str], set[str]] = {}
    for state, event, after, _ in rows:
        short.setdefault((state, word(event)), set()).add(after)
    states = {"absent", "retryable", "failed", "done", "undone", "refused"}
    events = {"command", "repeat", "expired", "undo_done", "undo_unknown"}
    left = {(state, event): after_all(state, event) for state in states for event in events}
    assert short == {pair: afters for pair, afters in left.items() if afters is not None}
    ran = {"done", "failed", "retryable"}
    assert short == {pair: {after} if after else ran for pair, (_, after) in TABLE.items()}


# ---- what becomes of a wrong answer --------------------------------------------------------------------------------


@saga
async def of_the_wire(s: Saga, _: int) -> str:
    first = await s.call(Print(order="1"), retry=Retry(max_attempts=3))
    return first + await s.call(Print(order="2"))


Raw = tuple[list[tuple[str, bytes | None]], bytes | None]  # headers and payload, as Kafka has them


@dataclass(frozen=True)
class Answers:
    """What a participant may send to the operation 0 of the saga `s`, rightly or wrongly."""

    inside: Inside

    def good(self, **changes: str | None) -> Raw:
        return self.raw(self.inside.succeeded("s", 0, Print, "label"), **changes)

    def no(self, said: str, **changes: str | None) -> Raw:
        return self.raw(self.inside.refused("s", 0, said, BUSY), **changes)

    def raw(self, row: Row, **changes: str | None) -> Raw:
        headers: dict[str, Any] = {"id": str(UUID(int=1)), "type": row.type, **row.headers, **changes}
        return [(name, None if text is None else text.encode()) for name, text in headers.items()], row.payload

    def with_words(self, **words: str) -> Raw:
        """A Problem with words that our own code never writes."""
        headers, payload = self.no("failed")
        return headers, control.ProblemRecord.codec.encode({**avro.decode(payload or b""), **words})


def wrong_answers(of: Answers) -> dict[str, list[Raw]]:
    """By the first cell of the page's table: each must end as the second says."""
    good, payload = of.good()
    return {
        "no `id`, a header too long or twice, an unknown kind, a null payload": [
            of.good(id=None), of.good(channel="x" * 1_025), ([*good, good[-1]], payload), of.good(kind="answer"),
            (good, None),
        ],
        "no `saga_id`, no `operation_key`, or one that is none": [
            of.good(saga_id=None), of.good(operation_key=None), of.good(operation_key="7"),
        ],
        "bytes that don't decode, or a schema that the orchestrator does not know": [
            (good, b""), (good, (payload or b"")[:-1]), (good, b"\xc3\x01" + b"\x07" * 8),
        ],
        "an unknown `outcome`; a Problem with another `kind` or `effect` than the words above": [
            of.no("failed", outcome="maybe"), of.with_words(kind="grief"), of.with_words(effect="some"),
        ],
        "no `nonce`, or not the command's": [of.good(nonce=None), of.good(nonce="0" * 32)],
        "a saga that is not there, or another with the same id": [
            of.good(saga_id="nobody"), of.raw(of.inside.succeeded("other", 0, Print, "label"), saga_id="s"),
        ],
        "in a partition that is not its saga's": [of.good()],
        "a second answer, or one to an operation that has ended": [of.good()],
        "an `attempt` that was never sent": [of.good(attempt="2")],
        "a `retry` of an earlier attempt": [of.no("retry")],
        "a success that decodes, and is not of the command's reply type": [(good, avro.encode(int, 7))],
        "a `conflict`": [of.no("conflict")],
    }  # fmt: skip


WRONG = {row[0]: row[1] for row in tables("## What becomes of a wrong answer")[0]}


def begun() -> Inside:
    inside = Inside(of_the_wire)
    for saga_id in ("s", "other"):
        inside.start(of_the_wire, 0, saga_id)
    return inside


def test_every_wrong_answer_of_the_page_is_tried() -> None:
    assert wrong_answers(Answers(begun())).keys() == WRONG.keys()


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_answer_ends_as_the_page_says(label: str) -> None:
    for number in range(len(wrong_answers(Answers(begun()))[label])):
        inside = begun()
        answers, shard = Answers(inside), SHARD
        if "partition" in label:
            shard = SHARD + 1
        if "second answer" in label:
            come(inside, answers.good())
        if "`retry` of an earlier" in label:
            come(inside, answers.no("retry"))
        writes = come(inside, wrong_answers(answers)[label][number], shard)
        ended = f"{label} ({number}): {writes}"
        if WRONG[label].startswith("dead letter"):
            assert [len(writes.letters), writes.turns] == [1, []], ended
        elif WRONG[label].startswith("the saga is blocked"):
            assert inside.resident("s").status == "blocked", ended
        else:
            how, reason = re.fullmatch(r"(ignored|sent on): `{1,2}(.*?)`{1,2}( \(.*\))?", WRONG[label]).groups()[:2]
            (counted,) = writes.ignored
            assert counted.startswith(reason.removesuffix("…")), ended
            assert [len(writes.outbox), writes.letters, writes.turns] == [how == "sent on", [], []], ended


def come(inside: Inside, answer: Raw, shard: int = SHARD) -> ShardWrites:
    headers, payload = answer
    message = envelope.read_envelope(
        topic="sagas", partition=shard, offset=1, timestamp_ms=1, key=b"s", headers=headers, payload=payload
    )
    batch = Batch()
    item = inbound.Item(shard, 1, message, inbound.read(message, inside.now_us))
    inside.processing.process(batch, item, Known({}, {}), NOBODY)
    return batch.of(shard)


# ---- what a participant can't handle --------------------------------------------------------------------------------


def test_what_nobody_can_handle_is_answered_as_the_page_says() -> None:
    """The page's first three lines; the kit's own tests show the others."""
    rows = {row[0]: CODE.findall(row[1]) for row in tables("## What a participant answers")[2]}
    shop = Participant("payments")

    @shop.handles(ChargeCard)
    async def charge(cmd: ChargeCard, tx: Transaction) -> Charged:
        raise NotImplementedError

    row = outgoing.command_row(
        a_request(), ChargeCard(order_id="1", card="1", amount=Decimal(1)).model_dump(mode="json")
    )
    unknown = replace(row, payload=b"\xc3\x01" + b"\x07" * 8)
    damaged = replace(row, payload=row.payload[:-1])
    for (label, said), sent_row in zip(rows.items(), (replace(row, type="Shred"), unknown, damaged), strict=False):
        request = requests.read(envelope_of(sent_row), shop, frozenset())
        assert isinstance(request, requests.CommandRequest)
        assert request.refusal is not None, label
        outcome = "retry" if request.refusal.kind == "transient" else "failed"
        assert (said[0], request.refusal.effect) == (outcome, "none"), label
        assert f"`kind` {request.refusal.kind}" in section("## What a participant answers"), label
        assert len(said) < 4 or said[3] == request.refusal.type, label
