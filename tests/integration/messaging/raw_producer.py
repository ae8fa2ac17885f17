"""Send what confluent-kafka's Python side refuses to send: header names of any bytes, through the C library itself."""

import ctypes
from pathlib import Path
from typing import Any

import confluent_kafka

FLUSH_MS = 10_000
# The tags of rd_kafka_producev's arguments (rdkafka.h, rd_kafka_vtype_t) and its flag "copy the payload".
_END, _TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADERS = 0, 1, 3, 4, 7, 10
_COPY = 2


def library() -> ctypes.CDLL:
    """The librdkafka that the wheel brings along."""
    package = Path(confluent_kafka.__file__).parent
    found = [
        path
        for folder in (package.with_name("confluent_kafka.libs"), package / ".dylibs")
        for path in folder.glob("librdkafka*")
    ]
    assert found, f"no librdkafka beside {package}"
    return ctypes.CDLL(str(found[0]))


def send(bootstrap: str, topic: str, value: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """One message to partition 0, and wait for its ack."""
    lib: Any = library()
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(lib, name).restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
    lib.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap.encode(), error, len(error))
    client = ctypes.c_void_p(lib.rd_kafka_new(0, conf, error, len(error)))
    assert client, error.value
    listed = ctypes.c_void_p(lib.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
    for name, text in headers:
        lib.rd_kafka_header_add(listed, name, ctypes.c_ssize_t(len(name)), text, ctypes.c_ssize_t(len(text)))
    to = (_TOPIC, topic.encode(), _PARTITION, 0, _FLAGS, _COPY, _HEADERS, listed)
    sent = lib.rd_kafka_producev(client, *to, _VALUE, value, ctypes.c_size_t(len(value)), _END)
    assert sent == 0
    assert lib.rd_kafka_flush(client, FLUSH_MS) == 0
    lib.rd_kafka_destroy(client)
