"""The thread that compares turns with their replay: `tests/rules/test_rule_18_mismatch.py` shows what it finds."""

import threading
from contextlib import nullcontext
from typing import Any

import pytest

from orchestrator.core.registry import Registry
from orchestrator.engine import replay_sample
from orchestrator.engine.replay_sample import ReplaySample


def test_with_nothing_to_compare_it_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_sample, "RETRY_S", 1_000.0)
    connected = threading.Event()

    def connect() -> Any:
        connected.set()
        return nullcontext()

    sample = ReplaySample(1, Registry([]), lambda _: None, connect, lambda: None)
    sample.start()
    assert connected.wait(10)
    sample.stop()
    assert not sample._thread.is_alive()
