"""Sagas that wait for a message and set no timer."""

from orchestrator import App, Message, Saga, saga


class GoOn(Message):
    pass


@saga
async def waits(s: Saga, name: str) -> str:
    await s.receive(GoOn)
    return name


app = App(sagas=[waits])
