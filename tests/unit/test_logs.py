"""Log lines as machines read them: ids of sagas and handlings, whatever logger wrote them, and silence on replay."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from orchestrator import Message, Saga, logs, saga
from orchestrator.core.entries import MessageArrived, Started
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.replay import journal_body, replay
from orchestrator.core.turn import LiveSaga, Turn
from orchestrator.log_fields import Handled, handling
from orchestrator.participant.handling import Handling

IDENTITY = SagaIdentity("order-7", "uid-7", "talkative", 1, 0, trace_id="6e0c")
IDS = {"saga_id": "order-7", "saga_type": "talkative", "trace_id": "6e0c"}
PLAIN = logging.getLogger("tests.plain")
STRUCTURED = structlog.get_logger("tests.structured")


class Nudged(Message):
    by: str


@saga
async def talkative(s: Saga, name: str) -> None:
    s.log.info("began for %s", name, extra={"who": name})
    PLAIN.warning("plain")
    STRUCTURED.info("structured", n=1)
    nudged = await s.receive(Nudged)
    s.log.info("nudged by %s", nudged.by)
    PLAIN.warning("plain again")
    STRUCTURED.info("structured again")
    await s.receive(Nudged)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger as a fresh process has it."""
    found = logging.getLogger()
    monkeypatch.setattr(found, "handlers", [])
    level, before = found.level, structlog.get_config()
    yield found
    found.setLevel(level)
    structlog.configure(**before)


@pytest.fixture
def written(root: logging.Logger) -> io.StringIO:
    stream = io.StringIO()
    logs.setup("info", "json", stream)
    logs.adopt_structlog()
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """All that was written since the last call."""
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return [json.loads(line) for line in text.splitlines()]


def test_a_saga_says_who_it_is_and_says_it_once(written: io.StringIO) -> None:
    began, nudged = (
        Started(at_us=1, input="Ada"),
        MessageArrived(at_us=2, message_id="1", type="Nudged", channel="", body={"by": "Bob"}),
    )
    live = LiveSaga(talkative, IDENTITY)
    turn = live.feed(began)
    assert isinstance(turn, Turn)
    first = lines(written)
    assert [line["event"] for line in first] == ["began for Ada", "plain", "structured"]
    for line in first:
        assert line.items() >= IDS.items()
    assert (first[0]["who"], first[2]["n"], first[0]["logger"]) == ("Ada", 1, "orchestrator.saga.talkative")
    assert (first[0]["level"], first[1]["level"]) == ("info", "warning")
    assert first[0]["timestamp"].endswith("Z")

    again = replay(talkative, IDENTITY, [journal_body(began, turn)])
    assert lines(written) == []
    assert isinstance(again.feed(nudged), Turn)
    second = lines(written)
    assert [line["event"] for line in second] == ["nudged by Bob", "plain again", "structured again"]
    for line in second:
        assert line.items() >= IDS.items()
    live.evict()
    again.evict()
    PLAIN.warning("outside")
    assert not lines(written)[0].keys() & IDS.keys()


def test_s_log_is_silent_on_replay_wherever_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    """Also in a process whose logging is not ours; and the author's `extra` stays beside our fields."""
    caplog.set_level("INFO")
    began = Started(at_us=1, input="Ada")
    live = LiveSaga(talkative, IDENTITY)
    turn = live.feed(began)
    assert isinstance(turn, Turn)
    [record] = [one for one in caplog.records if one.name == "orchestrator.saga.talkative"]
    assert (record.saga_id, record.saga_type, record.trace_id, record.who) == ("order-7", "talkative", "6e0c", "Ada")  # type: ignore[attr-defined]
    caplog.clear()
    replay(talkative, IDENTITY, [journal_body(began, turn)]).evict()
    assert [one for one in caplog.records if one.name.startswith("orchestrator.saga")] == []


def test_a_handlers_lines_carry_what_it_handles(written: io.StringIO) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ctx: Handling[None] = Handling(key="u:0:1", attempt=2, saga_id="order-7", deps=None)
    with handling(Handled("u:0:1", 2, traceparent, "order-7", "ChargeCard")):
        ctx.log.info("by ctx.log", extra={"card": "…7"})
        PLAIN.warning("plain")
        STRUCTURED.info("structured")
    expected = {
        "saga_id": "order-7",
        "command_type": "ChargeCard",
        "operation_key": "u:0:1",
        "attempt": 2,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    found = lines(written)
    assert [line["event"] for line in found] == ["by ctx.log", "plain", "structured"]
    for line in found:
        assert line.items() >= expected.items()
    assert found[0]["card"] == "…7"
    with handling(Handled("e-1", 1, None, event_type="OrderPaid")):
        PLAIN.warning("an event")
    (line,) = lines(written)
    assert {name: line.get(name) for name in ("event_type", "event_id", "saga_id", "trace_id")} == {
        "event_type": "OrderPaid",
        "event_id": "e-1",
        "saga_id": None,
        "trace_id": None,
    }
    PLAIN.warning("outside")
    assert "event_id" not in lines(written)[0]


def test_a_traceback_is_one_line_of_json(written: io.StringIO) -> None:
    try:
        raise ValueError("héllo")
    except ValueError:
        PLAIN.exception("it failed")
    text = written.getvalue()
    (line,) = lines(written)
    assert "ValueError: héllo" in line["exception"] and "héllo" in text


@pytest.mark.parametrize(
    ("stream", "log_format", "is_json"),
    [
        (io.StringIO, "auto", True),
        (Terminal, "auto", False),
        (io.StringIO, "console", False),
        (Terminal, "json", True),
    ],
)
def test_people_on_a_terminal_get_text(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, stream: Any, log_format: Any, is_json: bool
) -> None:
    monkeypatch.setattr(root, "handlers", [])  # pytest has added its own since
    target = stream()
    logs.setup("info", log_format, target)
    PLAIN.warning("a line", extra={"saga_id": "order-7"})
    PLAIN.debug("not said")
    text = target.getvalue()
    assert text.startswith("{") is is_json
    assert "a line" in text and "order-7" in text and "not said" not in text


def test_structlog_comes_with_the_first_line_and_without_rich() -> None:
    program = (
        "import sys, logging; from orchestrator import logs; logs.setup('info', 'json')\n"
        "assert 'structlog' not in sys.modules\n"
        "logging.warning('a line')\n"
        "assert 'structlog' in sys.modules and 'rich' not in sys.modules\n"
        "import rich"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stderr)["event"] == "a line"
