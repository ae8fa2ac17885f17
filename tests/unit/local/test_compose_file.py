"""compose.yaml as the keeper understands it; what it does not understand is refused by name."""

import signal
import sys

import pytest

from orchestrator.local import kafka
from orchestrator.local.compose_file import (
    ComposeFileWrong,
    Ready,
    duration_s,
    port_names,
    port_variables,
    read_services,
    with_dependencies,
)

TEXT = """
services:
  api:
    image: only-for-docker
  database:
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    healthcheck: {interval: 50ms, retries: 7, start_period: 3s}
    restart: unless-stopped
    x-native:
      command: [python, -m, it, "${A_PORT:-1}", "${VAR_DIR:-var}/it", "${ABSENT}"]
      ready: {tcp: "${A_PORT:-1}"}
  worker:
    depends_on: {database: {condition: service_healthy}}
    x-native: {command: [work], environment: {URL: "tcp://127.0.0.1:${A_PORT:-1}"}}
"""


def test_every_key_is_read_and_every_variable_filled_in() -> None:
    services = read_services(TEXT, {"A_PORT": "20001", "VAR_DIR": "/srv/var"})
    assert list(services) == ["database", "worker"]
    database, worker = services.values()
    assert database.command == (sys.executable, "-m", "it", "20001", "/srv/var/it", "")
    assert (database.ready, database.stop_signal, database.stop_grace_s) == (Ready("tcp", "20001"), signal.SIGINT, 90.0)
    assert (database.interval_s, database.retries, database.start_period_s) == (0.05, 7, 3.0)
    assert worker.depends_on == (("database", "service_healthy"),)
    assert worker.environment == (("URL", "tcp://127.0.0.1:20001"),)


def test_ports_have_names_and_variables() -> None:
    shops = ["floor", "gateway", "mail", "webhook"]
    assert port_names(kafka.package_text("compose.yaml")) == sorted([*shops, "kafka", "kafka-controller", "postgres"])
    assert port_variables({"kafka-controller": 20001}) == {"KAFKA_CONTROLLER_PORT": "20001"}


def test_the_stack_itself_is_understood() -> None:
    services = read_services(kafka.package_text("compose.yaml"), {"POSTGRES_PORT": "20001", "KAFKA_PORT": "20002"})
    assert services["postgres"].ready == Ready("postgres", "20001")
    assert services["postgres"].stop_signal == signal.SIGINT
    assert services["kafka"].ready == Ready("kafka", "20002")


def test_dependencies_come_first_and_unwanted_services_not_at_all() -> None:
    services = read_services(TEXT, {})
    assert [service.name for service in with_dependencies(["worker"], services)] == ["database", "worker"]
    assert [service.name for service in with_dependencies(["database"], services)] == ["database"]


def test_what_runs_elsewhere_is_left_out_and_nobody_waits_for_it() -> None:
    (worker,) = with_dependencies(["database", "worker"], read_services(TEXT, {}), given={"database"})
    assert (worker.name, worker.depends_on) == ("worker", ())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("restart: sometimes", "service a: `sometimes` is none of no, always"),
        ("depends_on: {b: {condition: service_happy}}", "`service_happy` is none of"),
        ("stop_grace_period: soon", "`soon` is no duration"),
        ("depends_on: [nobody]", "service nobody: is not there"),
        ("depends_on: [a]", "service a: depends on itself: a -> a"),
    ],
)
def test_what_is_wrong_is_named(wrong: str, message: str) -> None:
    text = f"services:\n  a:\n    {wrong}\n    x-native: {{command: [x]}}\n"
    with pytest.raises(ComposeFileWrong, match=message):
        with_dependencies(["a"], read_services(text, {}))


def test_durations() -> None:
    assert [duration_s(text) for text in ("500ms", "10s", "1m30s", "1.5h")] == [0.5, 10, 90, 5400]
    with pytest.raises(ComposeFileWrong):
        duration_s("")


def test_the_shop_begins_when_it_is_set_up() -> None:
    services = read_services(kafka.package_text("compose.yaml"), {})
    shop = [name for name, service in services.items() if "services.play" in service.command and name != "setup"]
    assert {"gateway", "relay", "orchestrator-1", "orchestrator-2", "payments"} <= set(shop)
    assert all(services[name].depends_on == (("setup", "service_completed_successfully"),) for name in shop)
    assert all(services[name].restart == "unless-stopped" for name in shop)
