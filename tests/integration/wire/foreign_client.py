"""A client as another team would write it from docs/reference/wire.md: starts a saga, sends it a message.

python foreign_client.py start|send JSON: what to say, with the fields that `start` and `send` take; KAFKA, PREFIX and
SCHEMAS in the environment.
"""

import io
import json
import os
import sys
import uuid
from pathlib import Path

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form


def encode(name: str, value: object) -> bytes:
    (path,) = Path(os.environ["SCHEMAS"]).rglob(f"{name}.avsc")
    schema = parse_schema(json.loads(path.read_text()))
    out = io.BytesIO()
    out.write(b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")))
    schemaless_writer(out, schema, value)
    return out.getvalue()


def produce(saga_id: str, kind: str, type_: str, payload: bytes, message_id: str, **more: str) -> None:
    producer = Producer({"bootstrap.servers": os.environ["KAFKA"], "acks": "all", "partitioner": "murmur2"})
    headers = {"id": message_id, "type": type_, "kind": kind, "saga_id": saga_id, **more}
    spoken = [(name, text.encode()) for name, text in headers.items()]
    producer.produce(f"{os.environ['PREFIX']}sagas", payload, saga_id.encode(), headers=spoken)
    if producer.flush(30):
        raise SystemExit("no ack")


def start(saga_id: str, type: str, version: int, input: object) -> None:
    fields = {"uid": str(uuid.uuid4()), "type": type, "version": version, "input": json.dumps(input, indent=2)}
    nobody = dict.fromkeys(("parent_id", "parent_key", "parent_reply_to"))
    produce(saga_id, "start", type, encode("Start", {**fields, **nobody}), str(uuid.uuid4()))


def send(saga_id: str, type: str, message: object, id: str, channel: str = "") -> None:
    more = {"channel": channel} if channel else {}
    produce(saga_id, "message", type, encode(type, message), id, **more)


if __name__ == "__main__":
    {"start": start, "send": send}[sys.argv[1]](**json.loads(sys.argv[2]))
