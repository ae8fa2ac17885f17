"""What Kafka's client logs, but not what it says twenty times a second while a broker is away."""

import logging
import re
import threading
import time
from collections.abc import Callable

REPEAT_S = 30.0
KNOWN_MAX = 1_000  # texts remembered; forgotten all at once, which costs a line each

_CHANGING = re.compile(r" \(after \d+ms in state \w+\)|\b\d+ ?ms\b")


class Sparing(logging.Filter):
    """Lets the same text of the same client pass once in REPEAT_S, and says then how often it was heard since."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, int]] = {}  # text -> when it passed, how often it did not since

    def filter(self, record: logging.LogRecord) -> bool:
        """As logging.Filter; adds the count to the record that passes."""
        said = record.getMessage()
        text, now_s = _CHANGING.sub("", said), self._now_s()
        with self._lock:
            passed_s, held = self._heard.get(text, (None, 0))
            if passed_s is not None and now_s < passed_s + REPEAT_S:
                self._heard[text] = (passed_s, held + 1)
                return False
            if len(self._heard) >= KNOWN_MAX:
                self._heard.clear()
            self._heard[text] = (now_s, 0)
        if held:
            record.msg, record.args = f"{said} (and {held:,} times in the last {now_s - (passed_s or 0):.0f} s)", None
        return True


def sparing_logger(name: str) -> logging.Logger:
    """The logger of this name, for a client of Kafka."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, Sparing) for known in logger.filters):
        logger.addFilter(Sparing())
    return logger
