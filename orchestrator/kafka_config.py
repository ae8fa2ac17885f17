"""The file of AMENDS_KAFKA_CONFIG: how our processes log in to Kafka, as librdkafka's own properties.

    # one a line
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512
    sasl.username=orchestrator
    sasl.password=...
    ssl.ca.location=/etc/kafka/ca.pem

A file, because it holds a password and secrets come as files; librdkafka's names, because every cluster's manual has
them. Only what concerns the connection may be set: acks, idempotence, offsets and groups carry our guarantees.
"""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import DependencyError

LINES_MAX = 200

# Names, and beginnings of names. librdkafka's CONFIGURATION.md lists what there is.
ALLOWED = (
    "security.protocol",
    "sasl.",
    "ssl.",
    "enable.ssl.",
    "enable.sasl.",
    "https.ca.",
    "broker.address.family",
    "client.dns.lookup",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "connections.max.idle.ms",
)


def read_kafka_config(path: Path | None) -> Mapping[str, str]:
    """The properties of the file; none without one. Raises DependencyError that names file and line, never a value."""
    if path is None:
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DependencyError(f"AMENDS_KAFKA_CONFIG: {path} can't be read: {reason}") from None
    if len(lines) > LINES_MAX:
        raise DependencyError(f"AMENDS_KAFKA_CONFIG: {path} has {len(lines)} lines; {LINES_MAX} are possible")
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith(("#", "!")):
            name, value = _property(line, f"AMENDS_KAFKA_CONFIG: {path}, line {number}")
            found[name] = value
    return found


def _property(line: str, where: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    name = name.strip()
    if not equals:
        raise DependencyError(f"{where}: not NAME=VALUE")
    if name in _JAVA_NAMES:
        raise DependencyError(f"{where}: {name} is the Java client's; librdkafka has {_JAVA_NAMES[name]}")
    if not any(name == allowed or (allowed.endswith(".") and name.startswith(allowed)) for allowed in ALLOWED):
        raise DependencyError(f"{where}: {name} may not be set here; only these: {_list()}")
    return name, value.strip()


def _list() -> str:
    return ", ".join(f"{name}*" if name.endswith(".") else name for name in ALLOWED)


# What people copy out of the Java client's files.
_JAVA_NAMES = {
    "sasl.jaas.config": "sasl.username and sasl.password",
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.truststore.password": "ssl.ca.location, a PEM file, which needs no password",
    "ssl.keystore.type": "ssl.certificate.location and ssl.key.location",
}
