"""The sagas and the participant that are measured: payloads of 200 bytes, a timeout and an undo on every call."""

from datetime import timedelta

from orchestrator import App, Command, Message, Participant, Saga, Transaction, saga

PAYLOAD = "x" * 200
LOCAL_STEPS, REMOTE_STEPS, BUSY_STEPS = 5, 3, 200
PATIENCE = timedelta(minutes=5)

worker = Participant("bench")


class Worked(Message):
    note: str


class Work(Command[Worked], service="bench"):
    number: int
    note: str


@worker.handles(Work)
async def work(cmd: Work, tx: Transaction) -> Worked:
    return Worked(note=cmd.note)


@work.undo
async def work_back(cmd: Work, worked: Worked, tx: Transaction) -> None:
    """Never asked for here; but every call has one, and pays for it."""


class Go(Message):
    note: str


async def think(note: str) -> str:
    """A local step: what it costs is the runtime's."""
    return note


async def forget(note: str) -> None:
    """Its undo, which nobody asks for here."""


@saga(name="bench-local")
async def local(s: Saga, note: str) -> str:
    for _ in range(LOCAL_STEPS):
        note = await s.step(think, note, undo=forget, timeout=PATIENCE)
    return note


@saga(name="bench-remote")
async def remote(s: Saga, note: str) -> str:
    for number in range(REMOTE_STEPS):
        worked = await s.call(Work(number=number, note=note), timeout=PATIENCE)
        note = worked.note
    return note


@saga(name="bench-waiting")
async def waiting(s: Saga, note: str) -> str:
    return (await s.receive(Go)).note


@saga(name="bench-busy")
async def busy(s: Saga, note: str) -> str:
    """Under way for as long as an installation is looked at."""
    for number in range(BUSY_STEPS):
        await s.call(Work(number=number, note=note), timeout=PATIENCE)
    return note


app = App(sagas=[local, remote, waiting, busy], participants=[worker])
