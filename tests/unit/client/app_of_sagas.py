"""An app of sagas only, to be loaded by tests."""

from orchestrator import App, Saga, saga


@saga
async def hello(s: Saga, name: str) -> str:
    return f"Hello, {name}"


app = App(sagas=[hello])
