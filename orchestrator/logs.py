"""The logs of the processes of `amends`, rendered by structlog: for people on a terminal, else one JSON object a line.

Every line that was written with `logging` is rendered, ours and the libraries', and so is every line of structlog's own
loggers. Whatever is written while a handler runs carries its command's ids, and whatever is written in a saga's turn
carries the saga's; what a replay repeats is not said again, whichever logger said it: it was said the first time.
"""

import json
import logging
import sys
from asyncio import events
from collections.abc import MutableMapping
from functools import partial
from types import ModuleType
from typing import Any, Literal, TextIO

from orchestrator import log_fields

LogFormat = Literal["auto", "console", "json"]
EventDict = MutableMapping[str, Any]


def setup(level: str, log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send what is logged to stderr, unless somebody has set up logging already. structlog is loaded by the first line:
    most commands write none.
    """
    target = sys.stderr if stream is None else stream
    as_json = log_format == "json" or (log_format == "auto" and not target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(_Rendering(as_json=as_json, colors=target.isatty()))
    handler.addFilter(is_new)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Alembic tells of each plug-in and revision; `migrate` says what came of it.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # The schema registry's client is one of the two, and tells of each request.
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def adopt_structlog() -> None:
    """Let structlog's own loggers, in sagas and handlers, end where those of `logging` do. An app may do otherwise."""
    structlog = _structlog()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_every_line(structlog),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def is_new(_record: logging.LogRecord) -> bool:
    """A filter for handlers of `logging`: False for what a saga says while its past is replayed."""
    return not getattr(events._get_running_loop(), "replaying", False)


def add_fields(_logger: object, _method: str, event_dict: EventDict) -> EventDict:
    """A processor for structlog: the ids of the saga whose turn this is, or of what is being handled."""
    identity = getattr(events._get_running_loop(), "identity", None)
    for name, value in (log_fields.current() if identity is None else identity.log_fields).items():
        event_dict.setdefault(name, value)
    return event_dict


class _Rendering(logging.Formatter):
    """structlog's formatter, made when there is something to format."""

    def __init__(self, *, as_json: bool, colors: bool) -> None:
        super().__init__()
        self._as_json, self._colors = as_json, colors
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._formatter is None:
            self._formatter = _formatter(as_json=self._as_json, colors=self._colors)
        return self._formatter.format(record)


def _formatter(*, as_json: bool, colors: bool) -> logging.Formatter:
    structlog = _structlog()
    dev, processors, stdlib = structlog.dev, structlog.processors, structlog.stdlib
    if as_json:
        last = [processors.format_exc_info, processors.JSONRenderer(partial(json.dumps, ensure_ascii=False))]
    else:
        last = [dev.ConsoleRenderer(colors=colors, exception_formatter=dev.plain_traceback)]
    return stdlib.ProcessorFormatter(  # type: ignore[no-any-return]  # a module that is loaded late has no types
        processors=[stdlib.ProcessorFormatter.remove_processors_meta, *last],
        foreign_pre_chain=[stdlib.ExtraAdder(), *_every_line(structlog)],
    )


def _every_line(structlog: Any) -> list[Any]:
    """What is added to a line, from `logging` or from structlog."""
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _structlog() -> Any:
    """Without rich, which it loads if it is there, for tracebacks that nobody asked for: a restart would pay 0.1 s."""
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None: it can't be imported
        modules["rich"] = None
        try:
            import structlog
        finally:
            del modules["rich"]
    import structlog

    return structlog
