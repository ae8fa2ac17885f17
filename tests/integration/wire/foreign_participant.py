"""A till, as a service of another team would write it from docs/reference/wire.md, with nothing of ours.

It keeps a ledger and its inbox in one SQLite file. It handles Deposit (with an undo) and Balance, publishes MoneyBooked
and follows DayClosed. Its environment: KAFKA, PREFIX, SCHEMAS (a folder of .avsc files), STORE (the SQLite file), and
for tests DIES_BEFORE_ANSWERING: a saga whose command or undo it handles, and does not live to answer.
"""

import hashlib
import io
import json
import os
import signal
import sqlite3
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Consumer, Producer
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

LIMIT = Decimal(1000)
ADDRESS = ("reply_to", "saga_id", "operation_key", "nonce")

# (state, what came): (what to do, state after). `run` ends as done, failed or retryable.
TABLE = {
    ("absent", "command"): ("run", None),
    ("absent", "expired"): ("expire", "failed"),
    ("absent", "undo_done"): ("undo", "undone"),
    ("absent", "undo_unknown"): ("undone", "refused"),
    ("retryable", "command"): ("run", None),
    ("retryable", "repeat"): ("answer", "retryable"),
    ("retryable", "undo_unknown"): ("undone", "undone"),
    ("failed", "command"): ("answer", "failed"),
    ("failed", "repeat"): ("answer", "failed"),
    ("failed", "undo_unknown"): ("undone", "undone"),
    ("done", "command"): ("answer", "done"),
    ("done", "repeat"): ("answer", "done"),
    ("done", "undo_done"): ("undo", "undone"),
    ("done", "undo_unknown"): ("undo", "undone"),
    ("undone", "command"): ("refuse", "undone"),
    ("undone", "repeat"): ("refuse", "undone"),
    ("undone", "undo_done"): ("undone", "undone"),
    ("undone", "undo_unknown"): ("undone", "undone"),
    ("refused", "command"): ("refuse", "refused"),
    ("refused", "repeat"): ("refuse", "refused"),
    ("refused", "undo_unknown"): ("undone", "refused"),
}

TABLES = """
    CREATE TABLE IF NOT EXISTS inbox (
        key TEXT PRIMARY KEY, state TEXT, type TEXT, said TEXT, attempt INTEGER, outcome TEXT, answer_type TEXT,
        payload BLOB, settled INTEGER DEFAULT 0, forget_at TEXT);
    CREATE TABLE IF NOT EXISTS ledger (n INTEGER PRIMARY KEY, key TEXT, account TEXT, amount TEXT);
    CREATE TABLE IF NOT EXISTS outbox (n INTEGER PRIMARY KEY, id TEXT, topic TEXT, key TEXT, type TEXT, payload BLOB);
    CREATE TABLE IF NOT EXISTS followed (id TEXT PRIMARY KEY, day TEXT);
    CREATE TABLE IF NOT EXISTS dead (topic TEXT, part INTEGER, place INTEGER, error TEXT);
"""


class Schemas:
    """The published contract: every .avsc of a folder, by its name and by its mark."""

    def __init__(self, folder: Path) -> None:
        self.marks, self.names, self.defaults = {}, {}, {}
        for path in sorted(folder.rglob("*.avsc")):
            schema = json.loads(path.read_text())
            parsed = parse_schema(schema)
            mark = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))
            self.marks[mark] = parsed
            if path.parent.name == "former":
                continue
            self.names[path.stem] = (mark, parsed)
            fields = schema["fields"] if isinstance(schema, dict) and "fields" in schema else []
            self.defaults[path.stem] = {f["name"]: f["default"] for f in fields if "default" in f}

    def encode(self, name: str, value: object) -> bytes:
        mark, schema = self.names[name]
        out = io.BytesIO(mark)
        out.seek(len(mark))
        schemaless_writer(out, schema, value)
        return out.getvalue()

    def decode(self, payload: bytes) -> object:
        """Raises UnknownSchema; whatever else it raises says that the bytes are damaged."""
        if payload[:2] != b"\xc3\x01":
            raise ValueError(f"begins with {payload[:2].hex()}")
        if payload[:10] not in self.marks:
            raise UnknownSchema(payload[2:10].hex())
        body = io.BytesIO(payload[10:])
        value = schemaless_reader(body, self.marks[payload[:10]], None)
        if body.read(1):
            raise ValueError("bytes behind the end")
        return value

    def said(self, name: str, value: dict) -> str:
        """A hash of what a command says. What has its default is left out: a newer schema may have added it."""
        defaults = self.defaults[name]
        spoken = {k: v for k, v in value.items() if k not in defaults or defaults[k] != v}
        return hashlib.sha256(json.dumps([name, spoken], sort_keys=True).encode()).hexdigest()


class UnknownSchema(Exception):
    """Perhaps whoever sent it was deployed first."""


class Unanswerable(Exception):
    """It says neither what is wanted nor where an answer would go."""


class No(Exception):
    """A Failure of the contract: its name and its fields."""

    def __init__(self, name: str, **fields: object) -> None:
        super().__init__(name)
        self.name, self.fields = name, fields


class NotNow(Exception):
    """It will pass."""


@dataclass(frozen=True)
class Answer:
    """What goes back for one message."""

    outcome: str
    type: str
    payload: bytes


class Till:
    def __init__(self, schemas: Schemas, store: sqlite3.Connection, prefix: str) -> None:
        self.schemas, self.store, self.prefix = schemas, store, prefix

    # ---- the business ------------------------------------------------------------------------------------------

    def balance(self, account: str) -> Decimal:
        rows = self.store.execute("SELECT amount FROM ledger WHERE account = ?", (account,))
        return sum((Decimal(amount) for (amount,) in rows), Decimal(0))

    def book(self, key: str, account: str, amount: Decimal) -> None:
        self.store.execute("INSERT INTO ledger (key, account, amount) VALUES (?, ?, ?)", (key, account, str(amount)))
        event = self.schemas.encode("MoneyBooked", {"account": account, "amount": str(amount), "key": key})
        self.store.execute(
            "INSERT INTO outbox (id, topic, key, type, payload) VALUES (?, ?, ?, ?, ?)",
            (str(uuid.uuid4()), f"{self.prefix}till-events", account, "MoneyBooked", event),
        )

    def deposit(self, key: str, attempt: int, command: dict) -> tuple[str, object]:
        account, amount = command["account"], Decimal(command["amount"])
        if account.startswith("busy") and attempt < 2:
            raise NotNow("the drawer is open")
        self.book(key, account, amount)
        if (balance := self.balance(account)) > LIMIT:
            raise No("LimitExceeded", account=account, limit=str(LIMIT))
        receipt = str(uuid.uuid5(uuid.NAMESPACE_URL, key))
        notes = command["notes"]
        reply = {"balance": str(balance), "receipt": receipt, "booked_at": command["at"], "note": None}
        return "Deposited", {**reply, "note": notes[0] if notes else None}

    def deposit_undo(self, key: str, command: dict, reply: dict) -> None:
        assert reply["receipt"] == str(uuid.uuid5(uuid.NAMESPACE_URL, key)), "not our answer"
        self.book(f"{key}:undo", command["account"], -Decimal(command["amount"]))

    def count(self, _key: str, _attempt: int, command: dict) -> tuple[str, object]:
        return "Balance.reply", int(self.balance(command["account"]) * 100)

    def do(self, type_: str) -> object:
        return {"Deposit": self.deposit, "Balance": self.count}.get(type_)

    def undo(self, type_: str) -> object:
        return {"Deposit": self.deposit_undo}.get(type_)

    # ---- the inbox ---------------------------------------------------------------------------------------------

    def problem(self, kind: str, type_: str, text: str, fields: dict | None = None) -> bytes:
        """Nothing of ours ever happens by halves, so the effect is always none."""
        spoken = None if fields is None else json.dumps(fields)
        return self.schemas.encode(
            "Problem",
            {"kind": kind, "type": type_, "text": text, "traceback": "", "fields": spoken, "effect": "none",
             "retry_after_s": None, "left_undone": [], "saga_id": "", "status": ""},
        )  # fmt: skip

    def row(self, key: str) -> tuple:
        found = self.store.execute(
            "SELECT state, type, said, attempt, outcome, answer_type, payload FROM inbox WHERE key = ?", (key,)
        ).fetchone()
        return found or ("absent", None, None, 0, None, None, None)

    def keep(self, key: str, state: str, type_: str, said: str, attempt: int, answer: Answer | None) -> None:
        outcome, answer_type, payload = (answer.outcome, answer.type, answer.payload) if answer else (None, None, None)
        self.store.execute(
            """INSERT INTO inbox (key, state, type, said, attempt, outcome, answer_type, payload)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state,
            attempt = max(attempt, excluded.attempt), outcome = coalesce(excluded.outcome, outcome),
            answer_type = coalesce(excluded.answer_type, answer_type), payload = coalesce(excluded.payload, payload)""",
            (key, state, type_, said, attempt, outcome, answer_type, payload),
        )

    def command(self, headers: dict, payload: bytes, sent_at: datetime) -> Answer:
        type_, key, attempt = headers["type"], headers["operation_key"], int(headers.get("attempt", "1"))
        function = self.do(type_)
        if function is None:
            return self.unhandled("retry", "transient", "NoHandler", f"the till has no {type_}")
        try:
            command = self.schemas.decode(payload)
        except UnknownSchema as error:
            return self.unhandled("retry", "transient", "UnknownSchema", str(error))
        except Exception as error:
            return self.unhandled("failed", "error", type(error).__name__, str(error))
        said = self.schemas.said(type_, command)
        state, known_type, known_said, known_attempt, outcome, answer_type, answer = self.row(key)
        if state != "absent" and (known_type, known_said) != (type_, said):
            return self.unhandled("conflict", "error", "KeyConflict", f"{key} is another {known_type}")
        late = expires_at(headers, sent_at) < datetime.now(UTC)
        event = "command" if attempt > known_attempt and not late else "repeat"
        what, after = TABLE.get((state, "expired" if late and state == "absent" else event), ("contradiction", None))
        match what:
            case "run":
                return self.run(function, key, attempt, type_, said, command)
            case "expire":
                expired = Answer("failed", "Expired", self.problem("error", "Expired", "it came too late"))
                self.keep(key, after, type_, said, attempt, expired)
                return expired
            case "answer":
                return Answer(outcome, answer_type, answer)
            case "refuse":
                return self.unhandled("failed", "error", "Refused", f"{key} is {state}")
        return self.unhandled("conflict", "error", "Contradiction", f"{event} came to {key}, which is {state}")

    def run(self, function, key: str, attempt: int, type_: str, said: str, command: dict) -> Answer:
        self.store.execute("SAVEPOINT work")
        try:
            name, reply = function(key, attempt, command)
            state, answer = "done", Answer("succeeded", f"{type_}Reply", self.schemas.encode(name, reply))
        except No as no:
            state, answer = "failed", Answer("failed", no.name, self.problem("failure", no.name, str(no), no.fields))
        except NotNow as error:
            state, answer = "retryable", Answer("retry", "NotNow", self.problem("transient", "NotNow", str(error)))
        if state != "done":
            self.store.execute("ROLLBACK TO work")
        self.keep(key, state, type_, said, attempt, answer)
        return answer

    def unhandled(self, outcome: str, kind: str, type_: str, text: str) -> Answer:
        return Answer(outcome, type_, self.problem(kind, type_, text))

    def take_back(self, headers: dict, payload: bytes, sent_at: datetime) -> Answer | None:
        """The answer to an undo; None: a late copy, which is not answered."""
        type_, key = headers["type"], headers["operation_key"]
        if self.do(type_) is None:
            return self.unhandled("retry", "transient", "NoHandler", f"the till has no {type_}")
        function = self.undo(type_)
        if function is None:
            return self.unhandled("failed", "error", "NoUndo", f"{type_} has no undo")
        try:
            carried = self.schemas.decode(payload)
        except Exception as error:
            raise Unanswerable(f"an undo that can't be read: {error}") from error
        try:
            command = self.schemas.decode(carried["command"])
        except UnknownSchema as error:
            return self.unhandled("retry", "transient", "UnknownSchema", str(error))
        said = self.schemas.said(type_, command)
        state, known_type, known_said, _, _, _, answered = self.row(key)
        if state != "absent" and (known_type, known_said) != (type_, said):
            return self.unhandled("failed", "error", "KeyConflict", f"{key} is another {known_type}")
        if state == "absent" and expires_at(headers, sent_at) < datetime.now(UTC):
            return None
        event = "undo_done" if headers["outcome"] == "done" else "undo_unknown"
        what, after = TABLE.get((state, event), ("contradiction", None))
        if what == "contradiction":
            return self.unhandled("failed", "error", "Contradiction", f"{event} came to {key}, which is {state}")
        if what == "undo":
            function(key, command, self.schemas.decode(answered if state == "done" else carried["reply"]))
        self.keep(key, after, type_, said, 0, None)
        return Answer("undone", "Undone", b"")

    def settle(self, payload: bytes, sent_at: datetime) -> None:
        forget_at = (sent_at + timedelta(days=1)).isoformat()
        for key in self.schemas.decode(payload)["keys"]:
            self.store.execute("UPDATE inbox SET settled = 1, forget_at = ? WHERE key = ?", (forget_at, key))
        self.store.execute("DELETE FROM inbox WHERE settled AND forget_at < ?", (datetime.now(UTC).isoformat(),))

    def follow(self, headers: dict, payload: bytes) -> None:
        if headers["type"] == "DayClosed":
            day = self.schemas.decode(payload)["day"]
            self.store.execute("INSERT OR IGNORE INTO followed VALUES (?, ?)", (headers["id"], day))


def expires_at(headers: dict, sent_at: datetime) -> datetime:
    return datetime.fromisoformat(headers["expires_at"]) if "expires_at" in headers else sent_at + timedelta(days=1)


class Service:
    """Between Kafka and the till: one transaction a message, then the answer and the events, then the offset."""

    def __init__(self, environment: dict[str, str]) -> None:
        prefix, servers = environment["PREFIX"], {"bootstrap.servers": environment["KAFKA"]}
        self.store = sqlite3.connect(environment["STORE"], isolation_level=None)
        self.store.executescript(TABLES)
        self.till = Till(Schemas(Path(environment["SCHEMAS"])), self.store, prefix)
        self.dies_before_answering = environment.get("DIES_BEFORE_ANSWERING")
        self.commands, self.days = f"{prefix}till.commands", f"{prefix}days"
        self.producer = Producer(
            {**servers, "enable.idempotence": True, "acks": "all", "linger.ms": 0, "partitioner": "murmur2"}
        )
        self.consumer = Consumer(
            {**servers, "group.id": f"{prefix}till", "auto.offset.reset": "earliest", "enable.auto.commit": False,
             "session.timeout.ms": 6000}
        )  # fmt: skip

    def run(self) -> None:
        self.consumer.subscribe([self.commands, self.days])
        self.send_events()
        while True:
            message = self.consumer.poll(0.5)
            if message is None or message.error() is not None:
                continue
            self.handle(message)
            self.consumer.commit(message=message, asynchronous=False)

    def handle(self, message) -> None:
        try:
            headers = self.headers(message)
            self.store.execute("BEGIN IMMEDIATE")
            answer = self.answer(headers, message)
            self.store.execute("COMMIT")
        except Unanswerable as error:
            self.put_aside(message, error)
            return
        except Exception as error:
            self.roll_back()
            if message.topic() != self.commands or headers["kind"] == "settled":
                self.put_aside(message, error)
                return
            answer = self.till.unhandled("retry", "transient", type(error).__name__, str(error))
        if answer is not None:
            self.die_if_asked(headers)
            self.send_answer(headers, answer)
        self.send_events()

    def roll_back(self) -> None:
        if self.store.in_transaction:
            self.store.execute("ROLLBACK")

    def put_aside(self, message, error: Exception) -> None:
        """What nobody can answer lies where people find it, and those behind it go on."""
        self.roll_back()
        place = (message.topic(), message.partition(), message.offset())
        self.store.execute("INSERT INTO dead VALUES (?, ?, ?, ?)", (*place, f"{type(error).__name__}: {error}"))

    def headers(self, message) -> dict[str, str]:
        """Those that are there, as text. Raises Unanswerable for what is none of ours."""
        found: dict[str, str] = {}
        for name, value in message.headers() or []:
            if value is None:
                continue
            if name in found:
                raise Unanswerable(f"header {name} comes twice")
            try:
                found[name] = value.decode()
            except UnicodeDecodeError as error:
                raise Unanswerable(f"header {name}: {error}") from error
        if not found.get("id") or not found.get("type") or message.value() is None:
            raise Unanswerable("no id, no type or no value")
        if message.topic() == self.commands and found.get("kind") != "settled":
            missing = [name for name in ADDRESS if name not in found]
            if missing or found.get("kind") not in ("command", "undo"):
                raise Unanswerable(f"kind {found.get('kind')}, without {missing}")
        return found

    def answer(self, headers: dict[str, str], message) -> Answer | None:
        sent_at = datetime.fromtimestamp(message.timestamp()[1] / 1e3, UTC)
        if message.topic() == self.days:
            self.till.follow(headers, message.value())
            return None
        if headers["kind"] == "settled":
            self.till.settle(message.value(), sent_at)
            return None
        if headers["kind"] == "undo":
            return self.till.take_back(headers, message.value(), sent_at)
        return self.till.command(headers, message.value(), sent_at)

    def send_answer(self, headers: dict[str, str], answer: Answer) -> None:
        topic, _, partition = headers["reply_to"].rpartition("/")
        echoed = ("saga_id", "operation_key", "attempt", "nonce", "traceparent")
        back = {"id": str(uuid.uuid4()), "type": answer.type, "outcome": answer.outcome}
        back["kind"] = "reply" if headers["kind"] == "command" else "undone"
        back |= {name: headers[name] for name in echoed if name in headers}
        self.produce(topic, back, headers["saga_id"], answer.payload, int(partition))

    def send_events(self) -> None:
        rows = self.store.execute("SELECT n, id, topic, key, type, payload FROM outbox ORDER BY n").fetchall()
        for n, event_id, topic, key, type_, payload in rows:
            self.produce(topic, {"id": event_id, "type": type_, "kind": "event"}, key, payload, -1)
            self.store.execute("DELETE FROM outbox WHERE n = ?", (n,))

    def produce(self, topic: str, headers: dict[str, str], key: str, payload: bytes, partition: int) -> None:
        """One message, acknowledged. Without an ack this process ends; the next one begins at the same offset."""
        errors = []
        self.producer.produce(
            topic, payload, key.encode(), partition, headers=[(name, text.encode()) for name, text in headers.items()],
            on_delivery=lambda error, _message: errors.append(error),
        )  # fmt: skip
        self.producer.flush(30)
        if errors != [None]:
            raise SystemExit(f"{topic}: {errors}")

    def die_if_asked(self, headers: dict[str, str]) -> None:
        if self.dies_before_answering is not None and headers["saga_id"] == self.dies_before_answering:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Service(dict(os.environ)).run()
