"""What travels. The class is the contract: it names the route, the answer, and whether there is a way back."""

import re
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, ForwardRef, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter
from typing_extensions import Unpack

from orchestrator import limits
from orchestrator.errors import DefinitionError, where_declared

if TYPE_CHECKING:
    from outbox_relay import Row

_Reply_co = TypeVar("_Reply_co", covariant=True)
_C = TypeVar("_C")
_R = TypeVar("_R")

_MESSAGES: dict[str, type["Message"]] = {}
_DECLARED: dict[str, set[str]] = {}  # wire name -> the places that declared it
_REPLY_ADAPTERS: dict[type["Command[Any]"], TypeAdapter[Any]] = {}

_AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]+")


def avro_name(cls: type[BaseModel]) -> str:
    """What a class is called on the wire and in its schema: Page[Item] is Page_Item."""
    if pinned := cls.__dict__.get("__wire_name__"):
        return str(pinned)
    return re.sub(r"[^A-Za-z0-9_]+", "_", cls.__name__).strip("_") if "[" in cls.__name__ else cls.__name__


def _is_template(cls: type[BaseModel]) -> bool:
    """Command, Event, Command[Charged] and Fetch[T]: made on the way to a class that somebody can send."""
    return _is_ours(cls) or bool(cls.__pydantic_generic_metadata__["parameters"])


def _is_ours(cls: type[BaseModel]) -> bool:
    """Command, Event and Command[Charged]."""
    origin = cls.__pydantic_generic_metadata__["origin"] or cls
    return origin.__module__ == __name__


def _legal_name(cls: type, name: str) -> str:
    if _AVRO_NAME.fullmatch(name) and len(name) <= limits.NAME_CHARS_MAX:
        return name
    raise DefinitionError(
        f"{where_declared(cls)}: {name!r} can't be a name on the wire: a letter, then letters, digits and _, "
        f'all of them ASCII, {limits.NAME_CHARS_MAX} at most; pin one: class {cls.__name__}(…, name="…")'
    )


def _legal_topic(cls: type, what: str, name: str) -> str:
    if _TOPIC_NAME.fullmatch(name) and len(name) <= limits.NAME_CHARS_MAX and name not in (".", ".."):
        return name
    raise DefinitionError(
        f"{where_declared(cls)}: {what}={name!r} can't be part of a topic's name: "
        f"a-z, A-Z, 0-9, '.', '_' and '-' only, {limits.NAME_CHARS_MAX} at most"
    )


class Message(BaseModel):
    """A value that is kept in a journal or sent: frozen, strict about NaN and NUL, unknown fields are refused.

    Sent to a saga as it is: `client.send(id, PaymentSettled(...))` meets `await s.receive(PaymentSettled)`.
    `name` pins the type's name on the wire (default: the class's), so that the class may be renamed.
    """

    # NUL and what else can't be stored or sent is refused where a value is encoded (PayloadError names the field).
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )

    __wire_name__: ClassVar[str] = "Message"

    def __init_subclass__(cls, *, name: str | None = None, **config: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**config)
        cls.__wire_name__ = _legal_name(cls, name or avro_name(cls))

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if _is_ours(cls):
            return
        cls.__check_contract__()
        if not _is_template(cls):
            # The newest definition wins: a module that is imported again (a reload, a test) must not be refused.
            _MESSAGES[cls.__wire_name__] = cls
            _DECLARED.setdefault(cls.__wire_name__, set()).add(f"{cls.__module__}.{cls.__qualname__}")

    @classmethod
    def __check_contract__(cls) -> None:
        """Raises DefinitionError. A plain Message may live in journals only: its schema is checked when it is sent."""


class _Contract(Generic[_C, _R]):
    """Carries both types of a command class, invariantly, so that a handler of the wrong shape is a type error."""


class CommandType(Protocol[_C, _R]):
    """A command class, with its reply type."""

    def __contract__(self) -> _Contract[_C, _R]: ...


class Command(Message, Generic[_Reply_co]):
    """ "Do this", for one participant: `class ChargeCard(Command[Charged], service="payments")`.

    `service` is the participant's name; the command goes to the topic `<service>.commands`.
    `undo=False` says that there is nothing to take back (a query, a print-out). Otherwise the participant must
    declare an undo, which is checked when it starts; the saga never has to know what that undo is.
    """

    __service__: ClassVar[str] = ""
    __undo__: ClassVar[bool] = True

    # pydantic makes subclasses too (Command[Charged], Fetch[Item]), without any keyword: they inherit.
    def __init_subclass__(
        cls,
        *,
        service: str | None = None,
        undo: bool | None = None,
        name: str | None = None,
        **config: Unpack[ConfigDict],
    ) -> None:
        super().__init_subclass__(name=name, **config)
        if undo is not None:
            cls.__undo__ = undo
        if service is not None:
            cls.__service__ = _legal_topic(cls, "service", service)

    @classmethod
    def __check_contract__(cls) -> None:
        reply_type(cls)
        if not cls.__service__:
            raise DefinitionError(
                f"{where_declared(cls)}: a command names the participant that handles it: "
                f'class {cls.__name__}(Command[Reply], service="payments")'
            )
        if not _is_template(cls):
            _check_travels(cls)

    @classmethod
    def __contract__(cls) -> _Contract[Self, _Reply_co]:
        return _Contract()


class Event(Message):
    """ "It happened": `class OrderPaid(Event, topic="orders", key="order_id")`.

    `key` names the field whose value keeps events of one thing in order. Nobody needs to be listening.
    """

    __topic__: ClassVar[str] = ""
    __key__: ClassVar[str] = ""

    def __init_subclass__(
        cls, *, topic: str | None = None, key: str | None = None, name: str | None = None, **config: Unpack[ConfigDict]
    ) -> None:
        super().__init_subclass__(name=name, **config)
        cls.__topic__ = _legal_topic(cls, "topic", topic) if topic is not None else cls.__topic__
        cls.__key__ = key if key is not None else cls.__key__

    @classmethod
    def __check_contract__(cls) -> None:
        if not cls.__topic__ or not cls.__key__:
            raise DefinitionError(
                f"{where_declared(cls)}: an event names its topic and the field that orders it: "
                f'class {cls.__name__}(Event, topic="orders", key="order_id")'
            )
        if cls.__key__ not in cls.model_fields:
            raise DefinitionError(
                f"{where_declared(cls)}: key={cls.__key__!r} is not one of the fields of {cls.__name__}: "
                f"{', '.join(cls.model_fields) or 'it has none'}"
            )
        if not _is_template(cls):
            _check_travels(cls)

    def __outbox__(self) -> "Row":
        # Encoding needs the Avro codec; importing it here keeps this leaf a leaf.
        from orchestrator.messaging.events import event_row

        return event_row(self)

    def __outbox_wait__(self) -> Callable[[], None] | None:
        """What `__outbox__` would block for at its first event of a type: the schema registry. Else None."""
        from orchestrator.messaging import framing

        cls = type(self)
        return partial(framing.prepare_of_environment, cls) if framing.wants_of_environment(cls) else None


@cache
def reply_type(command: type[Command[Any]]) -> Any:
    """The type in `Command[…]` of a command class; None for Command[None]. Raises DefinitionError if there is none."""
    bound: dict[Any, Any] = {}
    for cls in command.__mro__:
        meta = cls.__dict__.get("__pydantic_generic_metadata__")
        if not meta or not meta["args"]:
            continue
        if meta["origin"] is Command:
            reply = _substituted(meta["args"][0], bound)
            if isinstance(reply, str | ForwardRef):
                raise DefinitionError(f"{where_declared(command)}: declare {reply} above the command that it answers")
            return reply
        bound.update(zip(meta["origin"].__pydantic_generic_metadata__["parameters"], meta["args"], strict=True))
    raise DefinitionError(
        f"{where_declared(command)}: say what {command.__name__} answers: "
        f"class {command.__name__}(Command[Reply], …), or Command[None]"
    )


def reply_adapter(command: type[Command[Any]]) -> TypeAdapter[Any]:
    """Validates and dumps the replies of a command class; built once for each."""
    if command not in _REPLY_ADAPTERS:
        _REPLY_ADAPTERS[command] = TypeAdapter(reply_type(command))
    return _REPLY_ADAPTERS[command]


def message_named(wire_name: str) -> type[Message] | None:
    """The imported message class of this wire name (commands, replies and events are messages too)."""
    return _MESSAGES.get(wire_name)


def messages() -> dict[str, type[Message]]:
    """All imported message classes by wire name, as `amends schemas write` publishes them."""
    return dict(_MESSAGES)


def clashing_names() -> dict[str, tuple[str, ...]]:
    """Wire names that classes of several places claim: whoever reads such a message may get the wrong one."""
    return {name: tuple(sorted(places)) for name, places in _DECLARED.items() if len(places) > 1}


def _substituted(reply: Any, bound: dict[Any, Any]) -> Any:
    """The reply type of Fetch[Item], where `class Fetch(Command[Page[T]], Generic[T])`."""
    if isinstance(reply, TypeVar):
        return bound.get(reply, reply)
    meta = getattr(reply, "__pydantic_generic_metadata__", None)
    open_parameters = meta["parameters"] if meta else getattr(reply, "__parameters__", ())
    if not open_parameters or not bound:
        return reply
    return reply[tuple(bound.get(parameter, parameter) for parameter in open_parameters)]


def _check_travels(cls: type[Message]) -> None:
    """At import, where the mistake is; what a class declared further down leaves open is checked at the first use."""
    from orchestrator.messaging.avro_schema import NotDeclaredYet, schema_of

    if not cls.__pydantic_complete__:
        return
    try:
        schema_of(cls)
        if issubclass(cls, Command):
            schema_of(reply_type(cls))
    except NotDeclaredYet:
        return
    except DefinitionError as error:
        raise DefinitionError(f"{where_declared(cls)}: {error}") from None
