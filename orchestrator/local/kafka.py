"""Apache Kafka 4.3.1 in KRaft mode: one broker on 127.0.0.1, out of the jars of compose/kafka.lock, on a JRE wheel.

    python -m orchestrator.local.kafka --data DIR --port PORT --controller-port PORT [--proxied PORT:PROXY_PORT,...]

fetches the jars, formats the data directory and becomes `java` (exec), so the keeper's pid is the broker's. The data is
durable: it survives kill -9.

The JVM starts in less than half the CPU time with a cache of what it loaded (AOT, Java 25). It fits one runtime, one
class path and one garbage collector, so it is made on the user's machine: a broker without one writes it when it ends,
and `keep_startup_cache` takes it over when that end was clean.
"""

import argparse
import base64
import hashlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Event

from orchestrator.errors import LocalStackError
from orchestrator.local.jars import Jar, Progress, fetch, missing, read_lock
from orchestrator.local.jre import Jre, find_jre
from orchestrator.local.paths import cache_dir
from orchestrator.local.processes import die_with_parent

FETCH_MB = 45
"""What the jars of the lock weigh, for the line that announces the download."""

CLEAN_EXIT_CODES = (0, 128 + signal.SIGTERM)
"""The JVM ends with 143 after an orderly SIGTERM."""

FOREIGN_VARIABLES = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")
"""Meant for the system's Java; they would change how ours runs, or make its start-up cache unfit."""

JVM_FLAGS = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # the second compiler is at work for minutes, and takes what everybody else shares
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)

# A broker for one machine: one partition for each of its own topics, small buffers, and sessions short enough that a
# killed consumer's partitions move within two seconds (with KIP-848 these are the broker's settings, not the client's).
# broker.session.timeout.ms decides how soon a killed broker may register again: its default costs 9 s a restart.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{proxied.listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{proxied.advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{proxied.protocols}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=1500
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=250
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=2
background.threads=2
"""


@dataclass(frozen=True, slots=True)
class Proxied:
    """Further listeners, each behind a proxy: (its own port, the proxy's), whose port clients are told to come back to.

    A client that came by one proxy hears of no other way to the broker, so it can't get around it.
    """

    ports: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, text: str) -> "Proxied":
        """From `PORT:PROXY_PORT,...`; raises ValueError."""
        pairs = (part.split(":") for part in text.split(",") if part)
        return cls(tuple((int(port), int(proxy_port)) for port, proxy_port in pairs))

    @property
    def listeners(self) -> str:
        """What is added to `listeners`."""
        return "".join(f",PROXIED{port}://127.0.0.1:{port}" for port, _ in self.ports)

    @property
    def advertised(self) -> str:
        """What is added to `advertised.listeners`."""
        return "".join(f",PROXIED{port}://127.0.0.1:{proxy_port}" for port, proxy_port in self.ports)

    @property
    def protocols(self) -> str:
        """What is added to `listener.security.protocol.map`."""
        return "".join(f",PROXIED{port}:PLAINTEXT" for port, _ in self.ports)


@dataclass(frozen=True, slots=True)
class Broker:
    """What a broker is started from. `folder` holds its configuration and, in data/, its log."""

    folder: Path
    jre: Jre
    class_path: tuple[Path, ...]
    cache: Path

    @property
    def data(self) -> Path:
        """The log directory."""
        return self.folder / "data"

    @property
    def properties(self) -> Path:
        """The configuration file."""
        return self.folder / "server.properties"

    @property
    def startup_cache(self) -> Path:
        """The JVM's cache; its name changes with all that it depends on."""
        content = "\n".join((self.jre.version, *JVM_FLAGS, *map(str, self.class_path)))
        return self.cache / f"kafka-{hashlib.sha256(content.encode()).hexdigest()[:12]}.aot"

    @property
    def new_startup_cache(self) -> Path:
        """Where a broker that has none writes it when it ends."""
        return self.folder / "new.aot"

    def java(self, flag: str, *arguments: str) -> list[str]:
        """The command line of one Java program of Kafka."""
        class_path = os.pathsep.join(map(str, self.class_path))
        return [str(self.jre.java), *JVM_FLAGS, flag, "-cp", class_path, *arguments]


def lock() -> list[Jar]:
    """Return the jars that the broker needs."""
    return read_lock(package_text("kafka.lock"))


def package_text(name: str) -> str:
    """Read a file of compose/: package data in the wheel, beside the package in the repository."""
    packaged = files("orchestrator.local").joinpath("data", name)
    in_repository = Path(__file__).parents[2] / "compose" / name
    return packaged.read_text() if packaged.is_file() else in_repository.read_text()


def jars_folder() -> Path:
    """Where this user's jars are."""
    return cache_dir() / "jars"


def is_fetched() -> bool:
    """Tell whether nothing is left to download."""
    return not missing(lock(), jars_folder())


def find_broker(folder: Path, progress: Progress, stopped: Event | None = None) -> Broker:
    """Fetch what is missing and return what the broker is started from."""
    jars = fetch(lock(), jars_folder(), progress, stopped=stopped)
    return Broker(folder.absolute(), find_jre(), tuple(jars), cache_dir())


def prepare(broker: Broker, port: int, controller_port: int, proxied: Proxied, more: str = "") -> None:
    """Write the configuration; format the data directory unless it was formatted before. Of two lines the last counts,
    so `more` adds to ours or takes their place.
    """
    broker.folder.mkdir(parents=True, exist_ok=True)
    text = PROPERTIES.format(port=port, controller_port=controller_port, data=broker.data, proxied=proxied) + more
    broker.properties.write_text(text)
    if (broker.data / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "x")
    options = ("--cluster-id", cluster_id, "--config", str(broker.properties), "--ignore-formatted")
    command = broker.java(aot_flag(broker), "kafka.tools.StorageTool", "format", *options)
    subprocess.run(command, check=True)


def aot_flag(broker: Broker) -> str:
    """The JVM's flag for its start-up cache, if there is one."""
    return f"-XX:AOTCache={broker.startup_cache}" if broker.startup_cache.exists() else "-Xshare:auto"


def become_broker(broker: Broker) -> None:
    """Replace this process by the broker; does not return."""
    broker.new_startup_cache.unlink(missing_ok=True)
    recording = f"-XX:AOTCacheOutput={broker.new_startup_cache}"
    flag = aot_flag(broker) if broker.startup_cache.exists() else recording
    command = broker.java(flag, "kafka.Kafka", str(broker.properties))
    os.chdir(broker.folder)  # A crash report of the JVM goes there.
    die_with_parent(signal.SIGTERM)
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    os.execve(command[0], command, environment)


def keep_startup_cache(folder: Path, exit_code: int) -> None:
    """After the broker's end: take its cache over if the end was clean; a half-written one is thrown away."""
    new = folder / "new.aot"
    if not new.exists():
        return
    if exit_code in CLEAN_EXIT_CODES:
        new.replace(find_broker(folder, lambda _: None).startup_cache)
    else:
        new.unlink()


def main(argv: Sequence[str] | None = None) -> None:
    """Run as a program of the stack."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.local.kafka", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--controller-port", type=int, required=True)
    parser.add_argument("--proxied", type=Proxied.read, default=Proxied(), metavar="PORT:PROXY_PORT,...")
    arguments = parser.parse_args(argv)
    try:
        broker = find_broker(arguments.data, print)
        prepare(broker, arguments.port, arguments.controller_port, arguments.proxied)
    except (LocalStackError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    become_broker(broker)


if __name__ == "__main__":
    main()
