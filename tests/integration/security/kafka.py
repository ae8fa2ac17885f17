"""A broker that enforces ACLs: SASL/PLAIN for everybody, and a listener of its own where the administrator is alone."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.local import kafka, ports
from orchestrator.local.compose_file import Ready
from orchestrator.local.paths import VarDir, cache_dir
from orchestrator.local.ready import is_ready
from tests.deadlines import deadline, eventually

USERS = ("orchestrator", "relay", "ledger", "doctor", "stranger", "migrator")

# Whoever comes by the PLAINTEXT listener is User:ANONYMOUS: the broker itself, its controller, and the administrator.
SECURITY = """\
listeners=PLAINTEXT://127.0.0.1:{admin_port},SASL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{admin_port},SASL://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@dataclass(frozen=True)
class SecureKafka:
    """`admin` and `bootstrap` are two doors of one broker."""

    folder: Path
    admin: str
    bootstrap: str

    def login(self, user: str) -> Path:
        """The file that AMENDS_KAFKA_CONFIG names for this user."""
        path = self.folder / f"{user}.properties"
        lines = ("security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", f"sasl.username={user}")
        path.write_text("\n".join(("# how it logs in", *lines, f"sasl.password={password(user)}", "")))
        return path


def password(user: str) -> str:
    return f"secret-of-{user}"


@contextmanager
def running(folder: Path) -> Iterator[SecureKafka]:
    """Start it, wait until it serves, and kill it at the end."""
    var = VarDir.at(folder / "var")
    port, admin_port, controller_port = ports.take(("sasl", "admin", "controller"), var, cache_dir()).values()
    broker = kafka.find_broker(folder / "kafka", print)
    configure(broker, port, admin_port, controller_port)
    with (folder / "kafka.log").open("wb") as log:
        command = broker.java(kafka.aot_flag(broker), "kafka.Kafka", str(broker.properties))
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        found = SecureKafka(folder, f"127.0.0.1:{admin_port}", f"127.0.0.1:{port}")
        eventually(lambda: serves(admin_port, process), 60, f"the broker serves; see {folder}/kafka.log")
        yield found
    finally:
        process.kill()
        process.wait(deadline(20))


def configure(broker: kafka.Broker, port: int, admin_port: int, controller_port: int) -> None:
    users = " ".join(f'user_{user}="{password(user)}"' for user in USERS)
    more = SECURITY.format(port=port, admin_port=admin_port, controller_port=controller_port, users=users)
    kafka.prepare(broker, admin_port, controller_port, kafka.Proxied(), more)


def serves(admin_port: int, process: subprocess.Popen) -> bool:
    assert process.poll() is None, "the broker has ended"
    return asyncio.run(is_ready(Ready("kafka", str(admin_port))))
