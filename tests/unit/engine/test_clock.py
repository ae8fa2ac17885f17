"""The database's time, from answers that take long."""

import pytest

from orchestrator.engine import clock
from orchestrator.engine.clock import LOOKS_MAX, DatabaseClock

AHEAD_US = 1_000_000_000_000_000  # the database's clock, when ours says 0


class Postgres:
    """Answers with its time, half-way through the round trips that it is given."""

    def __init__(self, round_trips_s: list[float]) -> None:
        self.round_trips_s, self.at_s, self.asked = round_trips_s, 100.0, 0

    def execute(self, _: str) -> "Postgres":
        there_s = self.round_trips_s[self.asked] * 0.1  # the way there is short, the way back long: the worst case
        self.said_us = AHEAD_US + int((self.at_s + there_s) * 1e6)
        self.at_s += self.round_trips_s[self.asked]
        self.asked += 1
        return self

    def fetchone(self) -> tuple[int]:
        return (self.said_us,)


@pytest.mark.parametrize(
    ("round_trips_s", "asked", "off_us_max"),
    [
        ([0.0002], 1, 100),
        ([0.040, 0.0002], 2, 100),
        ([0.040, 0.006, 0.050], LOOKS_MAX, 3_000),
    ],
)
def test_the_quickest_answer_counts(
    round_trips_s: list[float], asked: int, off_us_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = Postgres(round_trips_s)
    monkeypatch.setattr(clock.time, "monotonic", lambda: postgres.at_s)
    database_clock = DatabaseClock()
    database_clock.sample(postgres)  # type: ignore[arg-type]
    assert postgres.asked == asked
    assert abs(database_clock.now_us() - (AHEAD_US + int(postgres.at_s * 1e6))) <= off_us_max
    database_clock.sample(postgres)  # type: ignore[arg-type]
    assert postgres.asked == asked  # a moment ago


def test_a_clock_that_is_set_back_takes_no_time_back_and_a_clock_that_is_put_right_gives_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hour_us, postgres = 3_600_000_000, Postgres([0.0] * 10)
    monkeypatch.setattr(clock.time, "monotonic", lambda: postgres.at_s)
    monkeypatch.setattr(clock, "SAMPLE_EVERY_S", 0.0)
    database_clock = DatabaseClock()

    def passed_us(shift_us: int) -> int:
        before_us = database_clock.now_us()
        postgres.at_s += 10.0
        monkeypatch.setattr(f"{__name__}.AHEAD_US", AHEAD_US + shift_us)
        database_clock.sample(postgres)  # type: ignore[arg-type]
        return database_clock.now_us() - before_us

    database_clock.sample(postgres)  # type: ignore[arg-type]
    assert passed_us(0) == pytest.approx(10_000_000, abs=10)
    assert passed_us(-hour_us) == pytest.approx(10_000_000, abs=10)
    assert database_clock.lead_us() == pytest.approx(hour_us, abs=10)
    assert "set back by 3600.0 s" in caplog.text
    assert passed_us(hour_us) == pytest.approx(10_000_000, abs=10)  # it is right again
    assert database_clock.lead_us() == pytest.approx(0, abs=10)


def test_answers_that_take_seconds_are_no_clock_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    postgres = Postgres([0.0002] + [4.0] * LOOKS_MAX)
    monkeypatch.setattr(clock.time, "monotonic", lambda: postgres.at_s)
    monkeypatch.setattr(clock, "SAMPLE_EVERY_S", 0.0)
    database_clock = DatabaseClock()
    database_clock.sample(postgres)  # type: ignore[arg-type]
    database_clock.sample(postgres)  # type: ignore[arg-type]
    assert database_clock.lead_us() == 0
    assert abs(database_clock.now_us() - (AHEAD_US + int(postgres.at_s * 1e6))) <= 100
