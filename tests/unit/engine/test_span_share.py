"""The export pauses as long as its share of a CPU says, and what it waited for others counts."""

import pytest

from orchestrator import limits
from orchestrator.engine.span_export import _pause_s


@pytest.mark.parametrize(
    ("used_s", "elapsed_s", "pause_s"),
    [
        (0.05, 0.05, 0.45),  # it waited for nobody
        (0.05, 0.30, 0.20),  # for the database, the collector or the interpreter
        (0.05, 0.50, 0.0),
        (0.05, 9.00, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_a_tenth(monkeypatch: pytest.MonkeyPatch, used_s: float, elapsed_s: float, pause_s: float) -> None:
    monkeypatch.setattr(limits, "SPAN_CPU_SHARE_MAX", 0.1)
    assert _pause_s(used_s, elapsed_s) == pytest.approx(pause_s)
