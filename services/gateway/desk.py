"""The gateway's desk: each request is written down, takes its time, and is answered as phase and card say.

Charges (`web`) and payments (`pages`) go through it alike, so that one switch breaks both.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.book import Answer, Book, Kind
from services.gateway.hang_up import NoAnswer
from services.gateway.script import LATE_ANSWER_S, PACES, Phase, Restart, Trick, hangs_up, loses

Work = Callable[[], Response]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as the book counts it, and the trick that its card plays."""

    request: Request
    attempt: int
    kind: Kind
    key: str
    trick: Trick = "none"


class Desk:
    """The book, and the phase that the gateway is in."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.phase: Phase = "normal"
        self.restart: Restart | None = None
        self.running = 0

    def enter(self, phase: Phase, at_s: float) -> None:
        """Be so from then on."""
        self.phase, self.restart = phase, None
        self.book.note_phase(phase, at_s)

    def come_up(self) -> None:
        """Be well, if the restart is over."""
        if self.restart is not None and time.time() >= self.restart.well_at_s:
            self.enter("normal", self.restart.well_at_s)

    def begin(self, kind: Kind, key: str, order_id: str | None) -> int:
        """Write the request down, before anything is done about it; return its number."""
        self.come_up()
        if self.restart is not None:
            self.restart = self.restart.distracted()
        return self.book.begin(kind, key, order_id, self.phase)

    async def serve(self, asked: Asked, work: Work) -> Response:
        """Take the time, do the work halfway through it, and answer as the phase and the trick say."""
        self.running += 1
        try:
            answer, response = await self._answer(asked, work)
            self.book.end(asked.attempt, answer)
            return response
        finally:
            self.running -= 1

    async def _answer(self, asked: Asked, work: Work) -> tuple[Answer, Response]:
        phase = self.phase
        half_s = PACES[phase].of(asked.key) / 2
        await asyncio.sleep(half_s)
        times_tried = self.book.times_tried(asked.key, asked.kind)
        if phase == "down":
            if hangs_up(asked.key, times_tried):
                return "hung up", NoAnswer(asked.request)
            return "turned away", refusal(503, "we are down; nothing was booked", {"Retry-After": "2"})
        if asked.trick == "decline":
            self.book.note_effect(asked.attempt, "declined")
            await asyncio.sleep(half_s)
            return "sent", refusal(402, "the card was declined")
        response = work()
        if asked.trick == "lose answer" or (phase == "loses" and loses(asked.kind, times_tried)):
            return "lost", NoAnswer(asked.request)
        await asyncio.sleep(LATE_ANSWER_S if asked.trick == "answer late" else half_s)
        return "late" if asked.trick == "answer late" else "sent", response


def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is not a yes."""
    return JSONResponse({"reason": reason}, status, headers)
