"""The class is the contract; what is wrong with it is said at import, with file and line."""

from typing import Any, Generic, TypeVar

import pytest
from pydantic import ValidationError

from orchestrator import contracts
from orchestrator.contracts import Command, Event, Message, message_named, reply_adapter, reply_type
from orchestrator.errors import DefinitionError

T = TypeVar("T")


class Item(Message):
    sku: str
    count: int = 1


class Page(Message, Generic[T]):
    items: list[T]


class Find(Command[list[Item]], service="stock", undo=False):
    sku: str


class Forget(Command[None], service="stock", name="forget_all"):
    pass


class Fetch(Command[Page[T]], Generic[T], service="stock", undo=False):
    start: int


class Moved(Event, topic="stock.moves", key="sku"):
    sku: str


def test_the_class_keywords():
    assert (Find.__wire_name__, Find.__service__, Find.__undo__) == ("Find", "stock", False)
    assert (Forget.__wire_name__, Forget.__service__, Forget.__undo__) == ("forget_all", "stock", True)
    assert (Moved.__wire_name__, Moved.__topic__, Moved.__key__) == ("Moved", "stock.moves", "sku")
    assert message_named("forget_all") is Forget
    assert message_named("Forget") is None


def test_the_reply_of_a_command():
    assert reply_type(Find) == list[Item]
    assert reply_type(Forget) in (None, type(None))
    assert reply_adapter(Find).validate_python([{"sku": "a"}]) == [Item(sku="a")]
    assert reply_adapter(Forget).validate_python(None) is None


def test_a_generic_command_is_another_contract_for_each_argument():
    of_items, of_text = Fetch[Item], Fetch[str]
    assert (of_items.__wire_name__, of_text.__wire_name__) == ("Fetch_Item", "Fetch_str")
    assert (of_items.__service__, of_items.__undo__) == ("stock", False)
    assert reply_type(of_items) is Page[Item]
    assert reply_type(of_text) is Page[str]
    assert message_named("Fetch_Item") is of_items
    assert message_named("Fetch") is None


def test_a_subclass_of_a_command_keeps_its_route():
    class FindFast(Find):
        pass

    assert (FindFast.__service__, FindFast.__undo__, FindFast.__wire_name__) == ("stock", False, "FindFast")
    assert reply_type(FindFast) == list[Item]


def test_messages_are_frozen_and_refuse_what_they_do_not_know():
    item = Item(sku="a")
    with pytest.raises(ValidationError):
        item.sku = "b"
    with pytest.raises(ValidationError):
        Item(sku="a", colour="red")


def test_bytes_survive_their_json_form():
    class Blob(Message):
        raw: bytes

    blob = Blob(raw=b"\x00\xff\xfe")
    assert Blob.model_validate(blob.model_dump(mode="json")) == blob


def test_a_module_that_is_imported_again_is_not_refused():
    def declare():
        class Twice(Message):
            pass

        return Twice

    declare()
    newest = declare()
    assert message_named("Twice") is newest
    assert "Twice" not in contracts.clashing_names()


def test_two_places_with_one_name_are_known():
    class Clash(Message):
        pass

    def elsewhere():
        class Clash(Message):
            pass

    elsewhere()
    assert len(contracts.clashing_names()["Clash"]) == 2


# Each declares something wrong in its last statement.


def no_service():
    class Bad(Command[None]):
        pass


def no_reply():
    class Bad(Command, service="x"):
        pass


def reply_not_declared():
    class Bad(Command["Later"], service="x"):
        pass


def reply_can_be_anything():
    class Bad(Command[Any], service="x"):
        pass


def service_is_no_topic():
    class Bad(Command[None], service="a b"):
        pass


def name_is_not_avro():
    class Bad(Message, name="order.paid"):
        pass


def class_name_is_not_ascii():
    class Größe(Message):  # noqa: PLC2401
        pass


def name_is_too_long():
    class Bad(Message, name="x" * 201):
        pass


def event_without_topic():
    class Bad(Event, key="sku"):
        sku: str


def event_without_key():
    class Bad(Event, topic="t"):
        sku: str


def key_is_no_field():
    class Bad(Event, topic="t", key="sko"):
        sku: str


def a_set_has_no_order():
    class Bad(Event, topic="t", key="sku"):
        sku: str
        tags: set[str]


def anything_in_a_command():
    class Bad(Command[None], service="x"):
        what: dict[str, Any]


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (no_service, "service="),
        (no_reply, "answers"),
        (reply_not_declared, "above the command"),
        (reply_can_be_anything, "Any"),
        (service_is_no_topic, "topic"),
        (name_is_not_avro, "name="),
        (class_name_is_not_ascii, "ASCII"),
        (name_is_too_long, "200"),
        (event_without_topic, "topic="),
        (event_without_key, "key="),
        (key_is_no_field, "sko"),
        (a_set_has_no_order, "Bad.tags"),
        (anything_in_a_command, "Bad.what"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_is_written(declare, says):
    with pytest.raises(DefinitionError) as caught:
        declare()
    assert says in str(caught.value)
    assert f"{__file__}:{declare.__code__.co_firstlineno + 1}" in str(caught.value)


def test_what_was_refused_is_not_registered():
    with pytest.raises(DefinitionError):

        class RefusedOnly(Command[None]):
            pass

    assert message_named("RefusedOnly") is None
