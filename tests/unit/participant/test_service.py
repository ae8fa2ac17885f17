"""Which topics a participant reads, and which `amends migrate` of its app makes."""

from orchestrator import App, Command, Event, Participant, Transaction
from orchestrator.messaging.topics import Topics
from orchestrator.participant.service import Service
from orchestrator.run import topics_of


class StockCounted(Event, topic="counts", key="item"):
    item: str


class CountStock(Command[int], service="counting", undo=False):
    item: str


class AskOfNobody(Command[int], service="abandoned", undo=False):
    """Its handler was taken out, and calls of it may still be under way: they must be refused, and not lie there."""


async def listen(event: StockCounted, tx: Transaction) -> None: ...


async def count(cmd: CountStock, tx: Transaction) -> int:
    return 1


def read(participant: Participant[None]) -> set[str]:
    return set(Service(participant, Topics("t.")).topics_read)


def listener(name: str) -> Participant[None]:
    participant = Participant[None](name)
    participant.on(StockCounted)(listen)
    return participant


def test_who_only_listens_reads_no_commands() -> None:
    heard = listener("audit")
    assert read(heard) == {"t.counts"}
    assert "t.audit.commands" not in topics_of(App(participants=[heard]), "t.")


def test_who_only_listens_now_still_refuses_the_commands_that_are_known() -> None:
    assert read(listener("abandoned")) == {"t.abandoned.commands", "t.counts"}


def test_who_handles_commands_reads_both() -> None:
    both = listener("counting")
    both.handles(CountStock)(count)
    assert read(both) == {"t.counting.commands", "t.counts"}
    assert {"t.counting.commands", "t.counts"} <= topics_of(App(participants=[both]), "t.").keys()


def test_who_does_nothing_yet_reads_its_commands() -> None:
    assert read(Participant[None]("idle")) == {"t.idle.commands"}
