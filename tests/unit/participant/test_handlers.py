"""What a participant refuses to start with, and what it says then."""

import pytest

from orchestrator.contracts import Command, Event, Message
from orchestrator.errors import DefinitionError
from orchestrator.participant import Breaker, Participant


class Made(Message):
    n: int


class Make(Command[Made], service="maker"):
    n: int


class Peek(Command[int], service="maker", undo=False):
    n: int


class Happened(Event, topic="happenings", key="n"):
    n: int


async def two(_message, _ctx): ...


async def three(_message, _reply, _ctx): ...


def test_a_command_that_can_be_taken_back_needs_an_undo():
    maker = Participant("maker")
    make = maker.handles(Make)(two)
    with pytest.raises(DefinitionError, match=r"Make can be taken back.*test_handlers.py:\d+.*@two.undo.*undo=False"):
        maker.check()
    make.undo(three)
    maker.check()


def test_a_command_without_a_way_back_needs_none():
    maker = Participant("maker")
    maker.handles(Peek)(two)
    maker.check()


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda p: p.handles(Make(n=1)), "class, not an instance"),
        (lambda p: p.handles(Make)(lambda m, c: None), "must be `async def`"),
        (lambda p: p.handles(Make)(three), "called with 2 arguments"),
        (lambda p: (p.handles(Make)(two), p.handles(Make)(two)), "a handler for it already"),
        (lambda p: Participant("other").handles(Make), "nobody would ever send it here"),
        (lambda p: p.handles(Make, effect="external", timeout_s=0)(two), "timeout_s must be above 0"),
        (lambda p: p.handles(Make, effect="external", lookup=three)(two), "called with 2 arguments"),
        (lambda p: p.on(Make), "takes a class of Event"),
        (lambda p: (p.on(Happened)(two), p.on(Happened)(two)), "a handler for it already"),
        (lambda p: Participant("two words"), "without spaces"),
        (lambda p: Breaker("gateway", fail_max=0), "fail_max of 1 or more"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once(declare, says):
    with pytest.raises(DefinitionError, match=says):
        declare(Participant("maker"))


def test_a_lookup_answers_with_the_commands_reply():
    async def find(command: Make, ctx) -> Made | None: ...

    async def find_something_else(command: Make, ctx) -> int | None: ...

    for lookup, fits in ((find, True), (find_something_else, False), (two, True)):
        maker = Participant("maker")
        maker.handles(Make, effect="external", lookup=lookup)(two).undo(three)
        if fits:
            maker.check()
        else:
            with pytest.raises(DefinitionError, match=r"find_something_else.*its reply is .*Made"):
                maker.check()


def test_two_undos_are_one_too_many():
    make = Participant("maker").handles(Make)(two)
    make.undo(three)
    with pytest.raises(DefinitionError, match="declared twice"):
        make.undo(three)


def test_an_effect_that_can_be_doubled_is_said_aloud(caplog):
    maker = Participant("maker")
    maker.handles(Make, effect="external")(two).undo(three)
    maker.check()
    assert "this effect can be doubled" in caplog.text


def test_breakers_of_one_name_are_one_breaker():
    maker = Participant("maker")
    maker.handles(Make, effect="external", breaker=Breaker("gateway"))(two).undo(three)
    maker.handles(Peek, effect="external", breaker=Breaker("gateway", fail_max=2))(two)
    with pytest.raises(DefinitionError, match="two different breakers of one name"):
        maker.check()
