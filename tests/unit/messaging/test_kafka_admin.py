"""A client that failed is gone when nobody holds it: during an outage another one is made after each failure."""

import gc
import weakref

import pytest

from orchestrator.engine.topology import Topology
from orchestrator.errors import DependencyError
from orchestrator.messaging import kafka_admin
from orchestrator.messaging.kafka_admin import Admin

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_admin, "CALL_TIMEOUT_S", 0.2)


def test_a_failed_client_goes_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        admin = Admin(NOBODY)
        client = weakref.ref(admin._client)
        with pytest.raises(DependencyError, match="no broker answers"):
            admin.partitions(["sagas"])
        del admin
        assert client() is None
    finally:
        gc.enable()


def test_the_orchestrator_asks_by_another_client_after_a_failure() -> None:
    topology = Topology(NOBODY, "", lambda: pytest.fail("nobody asks Postgres"))
    for ask in (topology.sagas_topic_id, lambda: topology.ends([0])):
        before = topology._admin
        with pytest.raises(DependencyError):
            ask()
        assert topology._admin is not before
