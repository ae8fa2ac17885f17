"""What there is to see, asked from the databases a few times a second."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg

from services.demo.look import IN_SAGAS, Eye

REFRESH_S = 0.1
RATE_WINDOW_S = 2.0
NOTES_MAX = 200

STATES: LiteralString = "SELECT status, count(*) FROM amends.sagas GROUP BY status"
WRITTEN: LiteralString = "SELECT last_value FROM amends.outbox_seq_seq"
BREAKER: LiteralString = "SELECT state, openings FROM amends.breakers WHERE name = 'gateway'"
PARKED: LiteralString = "SELECT count(*) FROM amends.inbox WHERE state = 'retryable'"

LIFE = ("queued", "running", "compensating", "stuck", "blocked", "completed", "failed", "cancelled", "terminated")
OPEN_STATES = frozenset(LIFE[:5])


@dataclass
class Board:
    """The latest numbers; `notes` are what happened, with seconds since the start."""

    began_s: float = field(default_factory=time.monotonic)
    states: dict[str, int] = field(default_factory=dict)
    breaker: str = "closed"
    breaker_openings: int = 0
    parked: int = 0
    commands_per_s: float = 0.0
    replies_per_s: float = 0.0
    notes: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=NOTES_MAX))

    @property
    def open(self) -> int:
        """Sagas that have not ended."""
        return sum(count for state, count in self.states.items() if state in OPEN_STATES)

    @property
    def ended(self) -> int:
        """Sagas that have."""
        return sum(self.states.values()) - self.open

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self.began_s

    def note(self, what: str) -> None:
        """Something happened."""
        self.notes.append((self.seconds, what))


async def keep_fresh(board: Board, eye: Eye) -> None:
    """Until cancelled. A database that refuses one answer will give the next."""
    written: deque[tuple[float, int, int]] = deque()
    while True:
        try:
            await refresh(board, eye, written)
        except psycopg.OperationalError as error:
            board.note(f"the board could not be refreshed: {error}")
        await asyncio.sleep(REFRESH_S)


async def refresh(board: Board, eye: Eye, written: deque[tuple[float, int, int]]) -> None:
    board.states = dict(await eye.ask(STATES))
    commands = (await eye.ask(WRITTEN))[0][0]
    replies = [(await eye.ask(WRITTEN, of=name))[0][0] for name in IN_SAGAS]
    written.append((time.monotonic(), commands, sum(replies)))
    while written[0][0] < written[-1][0] - RATE_WINDOW_S:
        written.popleft()
    elapsed_s = max(written[-1][0] - written[0][0], REFRESH_S)
    board.commands_per_s = (written[-1][1] - written[0][1]) / elapsed_s
    board.replies_per_s = (written[-1][2] - written[0][2]) / elapsed_s
    for state, openings in await eye.ask(BREAKER, of="payments"):
        board.breaker, board.breaker_openings = state, openings
    board.parked = (await eye.ask(PARKED, of="payments"))[0][0]


def in_order(states: Mapping[str, int]) -> list[tuple[str, int]]:
    """The states there are, in the order of a saga's life."""
    return [(state, states[state]) for state in LIFE if states.get(state)]
