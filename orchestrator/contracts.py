"""What travels. The class is the contract: it names the route, the answer, and whether there is a way back."""

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter
from typing_extensions import Unpack

from orchestrator import limits
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from outbox_relay import Row

_Reply_co = TypeVar("_Reply_co", covariant=True)
_C = TypeVar("_C")
_R = TypeVar("_R")


_MESSAGES: dict[str, type["Message"]] = {}
_REPLY_ADAPTERS: dict[type["Command[Any]"], TypeAdapter[Any]] = {}


def _is_template(cls: type) -> bool:
    """Command, Event and Command[Charged]: made on the way to a class that somebody declares."""
    return cls.__module__ == __name__ or "[" in cls.__name__


def _checked_name(cls: type, name: str) -> str:
    usable = 0 < len(name) <= limits.NAME_CHARS_MAX and name.isprintable() and not any(c.isspace() for c in name)
    if not usable and not _is_template(cls):
        raise DefinitionError(
            f"{cls.__module__}.{cls.__qualname__}: {name!r} can't be a name on the wire: "
            f"1-{limits.NAME_CHARS_MAX} printable characters without spaces"
        )
    return name


class Message(BaseModel):
    """A value that is kept in a journal or sent: frozen, strict about NaN, unknown fields are refused.

    Sent to a saga as it is: `client.send(id, PaymentSettled(...))` meets `await s.receive(PaymentSettled)`.
    `name` pins the type's name on the wire (default: the class's), so that the class may be renamed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    __wire_name__: ClassVar[str] = "Message"

    def __init_subclass__(cls, *, name: str | None = None, **config: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**config)
        cls.__wire_name__ = _checked_name(cls, name or cls.__name__)
        if not _is_template(cls):
            _MESSAGES[cls.__wire_name__] = cls


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

    def __init_subclass__(
        cls, *, service: str | None = None, undo: bool = True, name: str | None = None, **config: Unpack[ConfigDict]
    ) -> None:
        super().__init_subclass__(name=name, **config)
        cls.__undo__ = undo
        if service is not None:
            cls.__service__ = _checked_name(cls, service)
        elif not _is_template(cls) and not cls.__service__:
            raise DefinitionError(
                f"{cls.__module__}.{cls.__qualname__}: a command names the participant that handles it: "
                f'class {cls.__name__}(Command[Reply], service="payments")'
            )

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
        cls.__topic__ = topic or cls.__topic__
        cls.__key__ = key or cls.__key__
        if not cls.__topic__ or not cls.__key__:
            raise DefinitionError(
                f"{cls.__module__}.{cls.__qualname__}: an event names its topic and the field that orders it: "
                f'class {cls.__name__}(Event, topic="orders", key="order_id")'
            )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__key__ not in cls.model_fields:
            raise DefinitionError(f"{cls.__module__}.{cls.__qualname__}: key={cls.__key__!r} is not one of its fields")

    def __outbox__(self) -> "Row":
        # Encoding needs the Avro codec; importing it here keeps this leaf a leaf.
        from orchestrator.messaging.events import event_row

        row: "Row" = event_row(self)
        return row


def reply_type(command: type[Command[Any]]) -> Any:
    """The type in `Command[…]` of a command class; `None` for Command[None]. Raises DefinitionError if there is none."""
    for cls in command.__mro__:
        meta = cls.__dict__.get("__pydantic_generic_metadata__")
        if meta and meta["origin"] is Command and meta["args"]:
            return meta["args"][0]
    raise DefinitionError(f"{command.__qualname__}: say what it answers: class {command.__name__}(Command[Reply], …)")


def reply_adapter(command: type[Command[Any]]) -> TypeAdapter[Any]:
    """Validates and dumps the replies of a command class; built once for each."""
    if command not in _REPLY_ADAPTERS:
        _REPLY_ADAPTERS[command] = TypeAdapter(reply_type(command))
    return _REPLY_ADAPTERS[command]


def message_named(wire_name: str) -> type[Message] | None:
    """The imported message class of this wire name (commands, replies and events are messages too)."""
    return _MESSAGES.get(wire_name)


def messages() -> dict[str, type[Message]]:
    """All imported message classes by wire name, as `amends schemas` publishes them."""
    return dict(_MESSAGES)
