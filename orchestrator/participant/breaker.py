"""A circuit breaker that all processes of a participant share: pybreaker's states, kept in table `amends.breakers`.

The table has the word: no call begins without a look at it that began after the call was asked for, so nobody calls as
"closed" what another process has opened (one look serves all calls that wait for it). What is refused costs no look:
each process remembers an open breaker, and a task keeps that memory fresh. After the pause the next call asks for the
*trial permit*, a single row that one caller in all processes gets. pybreaker by itself lets every call through in
half-open, counts a cancelled call as a failure, and does its storage's I/O under the call; so it is told how calls
ended, and never asked to run them.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, LiteralString, Protocol, TypeVar
from uuid import uuid4

from orchestrator.errors import DefinitionError, Failure

if TYPE_CHECKING:
    from orchestrator.participant.connection import Lane

_LOG = logging.getLogger("amends.participant")

BreakerState = Literal["closed", "open", "half_open"]

REFRESH_S = 0.25
TRIAL_WAIT_S = 1.0  # while somebody else's trial call is out, ask again about this much later
WAKE_JITTER = 0.5  # parked commands come back spread over this part of the pause, not all at once

_DECLARE: LiteralString = """
    INSERT INTO amends.breakers (participant, name) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""
_READ: LiteralString = """
    SELECT name, state, greatest(0, extract(epoch FROM reopens_at - clock_timestamp()))::float8,
           coalesce(trial_until > clock_timestamp(), false)
    FROM amends.breakers WHERE participant = %s AND name = ANY(%s)
"""
_TRIAL: LiteralString = """
    UPDATE amends.breakers
    SET trial_by = %s, trial_until = clock_timestamp() + make_interval(secs => %s), trials = trials + 1
    WHERE participant = %s AND name = %s AND state = 'open' AND reopens_at <= clock_timestamp()
      AND (trial_until IS NULL OR trial_until <= clock_timestamp())
    RETURNING 1
"""
_OPEN: LiteralString = """
    UPDATE amends.breakers
    SET state = 'open', opened_at = clock_timestamp(), reopens_at = clock_timestamp() + make_interval(secs => %s),
        trial_by = NULL, trial_until = NULL, openings = openings + 1
    WHERE participant = %s AND name = %s AND (state = 'closed' OR trial_by = %s)
"""
_CLOSE: LiteralString = """
    UPDATE amends.breakers SET state = 'closed', trial_by = NULL, trial_until = NULL
    WHERE participant = %s AND name = %s AND trial_by = %s
    RETURNING 1
"""
_RELEASE: LiteralString = """
    UPDATE amends.breakers SET trial_by = NULL, trial_until = NULL
    WHERE participant = %s AND name = %s AND trial_by = %s
"""


class Breaker:
    """A circuit breaker shared by all processes of the participant. While it is open commands wait, no attempt burns.

    Opens after `fail_max` calls in a row that ended neither in an answer nor in a `Failure` (in one process); after
    `reset_timeout_s` one trial call, in all processes together, decides whether it closes.
    """

    def __init__(self, name: str, *, fail_max: int = 5, reset_timeout_s: float = 30.0) -> None:
        if not name or fail_max < 1 or reset_timeout_s <= 0:
            raise DefinitionError(
                f"Breaker({name!r}, fail_max={fail_max}, reset_timeout_s={reset_timeout_s}): needs a name, fail_max of "
                f"1 or more, and reset_timeout_s above 0"
            )
        self.name = name
        self.fail_max = fail_max
        self.reset_timeout_s = reset_timeout_s

    def __repr__(self) -> str:
        return f"Breaker({self.name!r}, fail_max={self.fail_max}, reset_timeout_s={self.reset_timeout_s})"


class NotCalled(Exception):
    """The permit was not used: nothing is known of the other side."""


class Refused(Exception):
    """The breaker is open: do not call, come back after `retry_after_s`."""

    def __init__(self, name: str, retry_after_s: float) -> None:
        super().__init__(f"the circuit breaker {name!r} is open")
        self.retry_after_s = retry_after_s


class Made(Protocol):
    """A call that was made, as the breaker sees it. `error`: None if the other side answered well."""

    @property
    def error(self) -> BaseException | None: ...


_M = TypeVar("_M", bound=Made)


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one call; say how it ended with `SharedBreaker.ended`."""

    trial: str | None = None


class SharedBreaker:
    """One breaker in this process. `look` reads the table, from now on, and says it to `learn`."""

    def __init__(self, breaker: Breaker, participant: str, lane: "Lane", look: Callable[[], Awaitable[None]]) -> None:
        import pybreaker

        self.definition = breaker
        self._participant = participant
        self._lane = lane
        self._look = look
        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._machine: pybreaker.CircuitBreaker = pybreaker.CircuitBreaker(
            fail_max=breaker.fail_max,
            reset_timeout=breaker.reset_timeout_s,
            # A business no is an answer: the other side is well. As a function, because pybreaker takes a class with a
            # metaclass for one and calls it.
            exclude=[_is_an_answer],
            state_storage=self._storage,
            name=breaker.name,
            throw_new_error_on_trip=False,
        )
        self._reopens_at = 0.0  # monotonic
        self._trial_elsewhere = False
        self._asking = False
        self._unsaid: str | None = None  # it opened here, by this trial (or ""), and the table does not know yet

    @property
    def is_open(self) -> bool:
        """As far as this process knows."""
        return bool(self._machine.current_state != "closed")

    @property
    def state(self) -> BreakerState:
        """As far as this process knows; half-open: a trial call is out, from here or from another process."""
        if not self.is_open:
            return "closed"
        return "half_open" if self._trial_elsewhere else "open"

    def refusal(self) -> Refused | None:
        """Why a call need not even be prepared now. Costs nothing; `permit` has the last word."""
        if not self.is_open or (self._pause_s() <= 0 and not self._asking and not self._trial_elsewhere):
            return None
        return Refused(self.definition.name, self._wake_after_s())

    async def guard(self, call_s: float, call: Callable[[], Awaitable[_M]]) -> _M:
        """Make one call that takes at most `call_s`, and hear how it ended. Raises Refused.

        What was made is returned even if the table can't be told of it.
        """
        permit = await self.permit(call_s)
        error: BaseException | None = None
        try:
            made = await call()
            error = made.error
            return made
        except BaseException as unexpected:
            error = unexpected
            raise
        finally:
            try:
                await self.ended(permit, error)
            except Exception as unheard:
                # Known here; the table hears it at the next refresh, and a trial permit runs out by itself.
                what = "the trial's end" if permit.trial else "the call's end"
                _LOG.warning(
                    "breaker %s of %s: %s not stored: %s", self.definition.name, self._participant, what, unheard
                )

    async def permit(self, call_s: float) -> Permit:
        """Leave for one call that takes at most `call_s`. Raises Refused while the breaker is open."""
        if not self.is_open:
            await self._look()
        if not self.is_open:
            return Permit()
        if refused := self.refusal():
            raise refused
        self._asking = True
        trial = str(uuid4())
        try:
            row = (trial, call_s, self._participant, self.definition.name)
            granted = await self._lane.execute(_TRIAL, row, "breaker.trial")
        finally:
            self._asking = False
        if not granted:
            self._trial_elsewhere = True
            raise Refused(self.definition.name, self._wake_after_s())
        self._trial_elsewhere = True  # ours: the other calls of this process wait for its end too
        _LOG.info("breaker %s of %s: trial call", self.definition.name, self._participant)
        return Permit(trial)

    async def ended(self, permit: Permit, error: BaseException | None) -> None:
        """Say how a permitted call ended. One that was cancelled, or never made, says nothing about the other side."""
        row = (self._participant, self.definition.name, permit.trial)
        if isinstance(error, asyncio.CancelledError | NotCalled):
            if permit.trial:
                await self._lane.execute(_RELEASE, row, "breaker.release")
            return
        if permit.trial is None:
            if not self.is_open and self._opens(error):
                await self._opened("")
            return
        if error is None or _is_an_answer(error):
            # The table first: if it does not hear of it, the breaker stays open here too, and there is another trial.
            if not await self._lane.execute(_CLOSE, row, "breaker.close"):
                _LOG.info("breaker %s of %s: a trial outlived its permit", self.definition.name, self._participant)
                return
            _LOG.info("breaker %s of %s: closed by the trial call", self.definition.name, self._participant)
        self._machine.half_open()
        self._trial_elsewhere = False
        if self._opens(error):
            await self._opened(permit.trial)

    def _opens(self, error: BaseException | None) -> bool:
        """Tell the machine how a call ended; whether it is open after that."""
        with contextlib.suppress(Exception), self._machine.calling():
            if error is not None:
                raise error
        return self.is_open

    async def _opened(self, trial: str) -> None:
        self._reopens_at = time.monotonic() + self.definition.reset_timeout_s
        self._trial_elsewhere = False
        self._unsaid = trial
        _LOG.warning(
            "breaker %s of %s: open for %.1f s; commands wait, no attempt is burnt",
            self.definition.name,
            self._participant,
            self.definition.reset_timeout_s,
        )
        await self.say()

    async def say(self) -> None:
        """Tell the table that it opened here; again, if Postgres did not answer the first time."""
        if self._unsaid is not None:
            row = (self.definition.reset_timeout_s, self._participant, self.definition.name, self._unsaid or None)
            await self._lane.execute(_OPEN, row, "breaker.open")
            self._unsaid = None

    def learn(self, state: str, pause_s: float, *, trial_out: bool) -> None:
        """What the table says. What happened here and is not told yet counts for more."""
        if self._unsaid is not None or self._asking:
            return
        self._trial_elsewhere = trial_out
        if state == "open":
            if not self.is_open:
                self._machine.open()
                _LOG.warning("breaker %s of %s: opened by another process", self.definition.name, self._participant)
            self._reopens_at = time.monotonic() + pause_s
        elif self.is_open:
            self._machine.close()
            _LOG.info("breaker %s of %s: closed by another process", self.definition.name, self._participant)

    def _pause_s(self) -> float:
        return self._reopens_at - time.monotonic()

    def _wake_after_s(self) -> float:
        spread_s = self.definition.reset_timeout_s * WAKE_JITTER
        return max(self._pause_s(), TRIAL_WAIT_S) + random.uniform(0, max(spread_s, TRIAL_WAIT_S))


def _is_an_answer(error: BaseException) -> bool:
    return isinstance(error, Failure)


class SharedBreakers:
    """All breakers of a participant, by name."""

    def __init__(self, breakers: Iterable[Breaker], participant: str, lane: "Lane") -> None:
        self._participant = participant
        self._lane = lane
        self._by_name = {breaker.name: SharedBreaker(breaker, participant, lane, self.look) for breaker in breakers}
        self._looking = asyncio.Lock()
        self._looks_begun = 0
        self._looks_ended = 0

    def get(self, breaker: Breaker | None) -> SharedBreaker | None:
        """The shared state of a declared breaker."""
        return None if breaker is None else self._by_name[breaker.name]

    def states(self) -> dict[str, BreakerState]:
        """Of all, by name."""
        return {name: breaker.state for name, breaker in self._by_name.items()}

    async def declare(self) -> None:
        """A row for each breaker, and what it says now."""
        for name in self._by_name:
            await self._lane.execute(_DECLARE, (self._participant, name), "breaker.declare")
        await self.refresh()

    async def refresh(self) -> None:
        """Tell what is not told yet, and learn what the other processes saw."""
        for breaker in self._by_name.values():
            await breaker.say()
        for name, state, pause_s, trial_out in await self._lane.execute(
            _READ, (self._participant, list(self._by_name))
        ):
            self._by_name[name].learn(state, pause_s, trial_out=trial_out)

    async def look(self) -> None:
        """Learn what the table says, by a read that begins after this was called; all who wait share the next one.

        A database that does not answer leaves what was known last: then no end of a call can be stored either.
        """
        mine = self._looks_begun + 1
        async with self._looking:
            if self._looks_ended >= mine:
                return
            self._looks_begun += 1
            try:
                await self.refresh()
            except Exception as error:
                _LOG.warning("breakers of %s: not refreshed: %s", self._participant, error)
            self._looks_ended = self._looks_begun

    async def keep_fresh(self) -> None:
        """Until cancelled."""
        while self._by_name:
            await asyncio.sleep(REFRESH_S)
            await self.look()
