"""The decorators: what to do for a command or an event, how to look it up, how to record it, how to take it back.

Declaring only collects; `Participant.check` says before the first message whether the whole contract is there.
"""

import inspect
import logging
import types
import typing
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Literal, cast, overload

from typing_extensions import TypeVar

from orchestrator.contracts import Command, CommandType, Event, reply_type
from orchestrator.errors import DefinitionError
from orchestrator.participant.breaker import Breaker
from orchestrator.participant.handling import Handling, Transaction

_C = TypeVar("_C")
_R = TypeVar("_R")
_K_co = TypeVar("_K_co", covariant=True)  # what an undo knows: the reply, or perhaps not
_U = TypeVar("_U")
_E = TypeVar("_E", bound=Event)
_D = TypeVar("_D", default=None)

Effect = Literal["local", "external"]
InDoubt = Literal["wait", "pin"]
_Function = Callable[..., Coroutine[Any, Any, Any]]
_LOG = logging.getLogger("amends.participant")

LONGEST_DELAY_S = 30.0  # how long a request may be on its way, unless the contract says otherwise


class LocalHandler(Generic[_C, _R, _D]):
    """A command whose whole effect is in this service's database."""

    effect: Effect = "local"
    lookup: _Function | None = None

    def __init__(self, command: type[Command[Any]], function: _Function) -> None:
        self.command = command
        self.function = function
        self.undo_function: _Function | None = None

    def undo(
        self, function: Callable[[_C, _R, Transaction[_D]], Coroutine[Any, Any, None]], /
    ) -> Callable[[_C, _R, Transaction[_D]], Coroutine[Any, Any, None]]:
        """Runs only for what did happen: the inbox knows, so the reply is always there."""
        self.undo_function = _once(self.undo_function, _checked(function, 3), f"{self.command.__name__}.undo")
        return function


class ExternalUndo(Generic[_C, _U, _D]):
    """The undo of an external command, and what this service records about it."""

    def __init__(self, command: type[Command[Any]], function: _Function) -> None:
        self.command = command
        self.function = function
        self.record_function: _Function | None = None

    def record(
        self, function: Callable[[_C, _U, Transaction[_D]], Coroutine[Any, Any, None]], /
    ) -> Callable[[_C, _U, Transaction[_D]], Coroutine[Any, Any, None]]:
        """Your own rows about the undo, in the transaction that stores that it was done."""
        self.record_function = _once(
            self.record_function, _checked(function, 3), f"{self.command.__name__}.undo.record"
        )
        return function


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """How an external handler calls out. Times in seconds."""

    timeout_s: float = 10.0
    concurrency: int = 20
    breaker: Breaker | None = None
    longest_delay_s: float = LONGEST_DELAY_S
    in_doubt: InDoubt = "wait"

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.concurrency < 1 or self.longest_delay_s < 0:
            raise DefinitionError(
                f"{self}: timeout_s must be above 0, concurrency 1 or more, longest_delay_s not below 0"
            )


class ExternalHandler(Generic[_C, _R, _K_co, _D]):
    """A command that calls out, and what the kit may do when its outcome is unknown."""

    effect: Effect = "external"

    def __init__(
        self, command: type[Command[Any]], function: _Function, lookup: _Function | None, options: External
    ) -> None:
        self.command = command
        self.function = function
        self.lookup = lookup
        self.options = options
        self.record_function: _Function | None = None
        self.undo_handler: ExternalUndo[Any, Any, Any] | None = None

    @property
    def undo_function(self) -> _Function | None:
        """What takes it back."""
        return None if self.undo_handler is None else self.undo_handler.function

    def record(
        self, function: Callable[[_C, _R, Transaction[_D]], Coroutine[Any, Any, None]], /
    ) -> Callable[[_C, _R, Transaction[_D]], Coroutine[Any, Any, None]]:
        """Your own rows about it, in the transaction that stores the reply, however the reply came to be known."""
        self.record_function = _once(self.record_function, _checked(function, 3), f"{self.command.__name__}.record")
        return function

    def undo(
        self, function: Callable[[_C, _K_co, Handling[_D]], Coroutine[Any, Any, _U]], /
    ) -> ExternalUndo[_C, _U, _D]:
        """With a lookup it runs only for what did happen, and gets the reply. Without one it may get None."""
        handler: ExternalUndo[_C, _U, _D] = ExternalUndo(self.command, _checked(function, 3))
        self.undo_handler = _once(self.undo_handler, handler, f"{self.command.__name__}.undo")
        return handler


AnyHandler = LocalHandler[Any, Any, Any] | ExternalHandler[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class EventHandler:
    """What this participant does when an event comes. `options` None: in the inbox's transaction."""

    event: type[Event]
    function: _Function
    options: External | None = None


class Participant(Generic[_D]):
    """One service: `amends participant shop.payments:payments`."""

    @overload
    def __init__(self: "Participant[None]", name: str) -> None: ...
    @overload
    def __init__(self, name: str, *, lifespan: Callable[[], AbstractAsyncContextManager[_D]]) -> None: ...
    def __init__(self, name: str, *, lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None) -> None:
        if not name or not name.isprintable() or any(c.isspace() for c in name):
            raise DefinitionError(f"Participant({name!r}): the name is the service of its commands, without spaces")
        self.name = name
        self.lifespan = lifespan
        self.handlers: dict[str, AnyHandler] = {}
        self.event_handlers: dict[str, EventHandler] = {}

    @overload
    def handles(
        self, command: CommandType[_C, _R], /, *, effect: Literal["local"] = "local"
    ) -> Callable[[Callable[[_C, Transaction[_D]], Coroutine[Any, Any, _R]]], LocalHandler[_C, _R, _D]]: ...
    @overload
    def handles(
        self,
        command: CommandType[_C, _R],
        /,
        *,
        effect: Literal["external"],
        lookup: Callable[[_C, Handling[_D]], Coroutine[Any, Any, _R | None]],
        timeout_s: float = 10.0,
        concurrency: int = 20,
        breaker: Breaker | None = None,
        longest_delay_s: float = LONGEST_DELAY_S,
        in_doubt: InDoubt = "wait",
    ) -> Callable[[Callable[[_C, Handling[_D]], Coroutine[Any, Any, _R]]], ExternalHandler[_C, _R, _R, _D]]: ...
    @overload
    def handles(
        self,
        command: CommandType[_C, _R],
        /,
        *,
        effect: Literal["external"],
        lookup: Callable[[_C, Handling[_D]], Coroutine[Any, Any, _R | None]] | None = None,
        timeout_s: float = 10.0,
        concurrency: int = 20,
        breaker: Breaker | None = None,
        longest_delay_s: float = LONGEST_DELAY_S,
        in_doubt: InDoubt = "wait",
    ) -> Callable[[Callable[[_C, Handling[_D]], Coroutine[Any, Any, _R]]], ExternalHandler[_C, _R, _R | None, _D]]: ...
    def handles(
        self, command: Any, /, *, effect: Effect = "local", lookup: _Function | None = None, **options: Any
    ) -> Callable[[Any], Any]:
        """local: your database only, in the inbox's transaction. external: calls out, with no transaction open.

        `lookup` is asked by key after an unknown outcome, before any retry or undo: the reply if it happened, None if
        it did not; raise Transient while nobody can say. Without one, an unknown outcome is undone blindly.
        `timeout_s` limits one call, `concurrency` how many are out at once in a process.
        `longest_delay_s`: after a call was given up, its request can still take effect this much later; until then
        a lookup's no proves nothing. `in_doubt="pin"`: the other side answers the same key with the same answer, so
        an undo in doubt first repeats the call under its key, which no late request can contradict.
        """
        checked = self._checked_command(command)

        def decorate(function: _Function) -> AnyHandler:
            handler: AnyHandler
            if effect == "local":
                handler = LocalHandler(checked, _checked(function, 2))
            else:
                looked_up = None if lookup is None else _checked(lookup, 2)
                handler = ExternalHandler(checked, _checked(function, 2), looked_up, External(**options))
            self.handlers[checked.__wire_name__] = handler
            return handler

        return decorate

    @overload
    def on(
        self, event: type[_E], /, *, effect: Literal["local"] = "local"
    ) -> Callable[
        [Callable[[_E, Transaction[_D]], Coroutine[Any, Any, None]]],
        Callable[[_E, Transaction[_D]], Coroutine[Any, Any, None]],
    ]: ...
    @overload
    def on(
        self,
        event: type[_E],
        /,
        *,
        effect: Literal["external"],
        timeout_s: float = 10.0,
        concurrency: int = 20,
        breaker: Breaker | None = None,
    ) -> Callable[
        [Callable[[_E, Handling[_D]], Coroutine[Any, Any, None]]],
        Callable[[_E, Handling[_D]], Coroutine[Any, Any, None]],
    ]: ...
    def on(self, event: Any, /, *, effect: Effect = "local", **options: Any) -> Callable[[Any], Any]:
        """Handle an event once: local in the inbox's transaction, external with the event's id as the key."""
        if not (isinstance(event, type) and issubclass(event, Event)):
            raise DefinitionError(f"{self.name}.on({event!r}): takes a class of Event")
        name = event.__wire_name__
        if name in self.event_handlers:
            raise DefinitionError(f"{self.name}.on({name}): there is a handler for it already")

        def decorate(function: _Function) -> _Function:
            called_out = External(**options) if effect == "external" else None
            self.event_handlers[name] = EventHandler(event, _checked(function, 2), called_out)
            return function

        return decorate

    def breakers(self) -> Iterator[Breaker]:
        """Each declared breaker."""
        for handler in self.handlers.values():
            if isinstance(handler, ExternalHandler) and handler.options.breaker:
                yield handler.options.breaker
        for on in self.event_handlers.values():
            if on.options and on.options.breaker:
                yield on.options.breaker

    def check(self) -> None:
        """Raise DefinitionError unless every command has what its contract promises."""
        for handler in self.handlers.values():
            command = handler.command
            reply_type(command)
            if command.__undo__ and handler.undo_function is None:
                raise DefinitionError(
                    f"{self.name}: {command.__name__} can be taken back, says its class, but its handler "
                    f"{_where(handler.function)} has no undo. Write one (@{handler.function.__name__}.undo), or say "
                    f"class {command.__name__}(…, undo=False) if there is nothing to take back"
                )
            if handler.lookup is not None:
                _check_lookup(command, handler.lookup)
            elif isinstance(handler, ExternalHandler) and handler.options.in_doubt != "pin":
                _LOG.warning(
                    "%s: %s calls out without lookup= and without in_doubt='pin': if the other side does not honour "
                    "ctx.key as an idempotency key, this effect can be doubled",
                    self.name,
                    command.__name__,
                )
        self._check_breakers()

    def _check_breakers(self) -> None:
        by_name: dict[str, Breaker] = {}
        for breaker in self.breakers():
            other = by_name.setdefault(breaker.name, breaker)
            if (other.fail_max, other.reset_timeout_s) != (breaker.fail_max, breaker.reset_timeout_s):
                raise DefinitionError(f"{self.name}: two different breakers of one name: {other!r} and {breaker!r}")

    def _checked_command(self, command: Any) -> type[Command[Any]]:
        if not (isinstance(command, type) and issubclass(command, Command)):
            raise DefinitionError(f"{self.name}.handles({command!r}): takes the command's class, not an instance")
        if command.__service__ != self.name:
            raise DefinitionError(
                f"{self.name}.handles({command.__name__}): the class says service={command.__service__!r}, so nobody "
                f"would ever send it here"
            )
        if command.__wire_name__ in self.handlers:
            raise DefinitionError(f"{self.name}.handles({command.__name__}): there is a handler for it already")
        return command


_T = TypeVar("_T")


def _check_lookup(command: type[Command[Any]], lookup: _Function) -> None:
    """It answers with the command's reply, or None. Without an annotation there is nothing to hold it to."""
    try:
        answers = typing.get_type_hints(lookup).get("return", Any)
    except NameError:
        return  # imported for type checkers only, which have looked at it
    found = [tp for tp in typing.get_args(answers) or (answers,) if tp not in (None, type(None))]
    if typing.get_origin(answers) in (typing.Union, types.UnionType) and answers is not Any:
        wanted = reply_type(command)
        if [tp for tp in (typing.get_args(wanted) or (wanted,)) if tp not in (None, type(None))] != found:
            raise DefinitionError(
                f"{_where(lookup)}: the lookup of {command.__name__} answers {answers}, its reply is {wanted}"
            )


def _once(before: object, value: _T, what: str) -> _T:
    if before is not None:
        raise DefinitionError(f"{what}: declared twice")
    return value


def _checked(function: Any, arguments: int) -> _Function:
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{_where(function)}: must be `async def`")
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError as error:
        raise DefinitionError(f"{_where(function)}: is called with {arguments} arguments: {error}") from None
    return cast("_Function", function)


def _where(function: Any) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
