"""What a process runs, listed. Importing a module registers nothing, so two apps can live in one test."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.core.saga_type import SagaType
    from orchestrator.participant import Participant
    from orchestrator.settings import Settings

Lifespan = Callable[[], AbstractAsyncContextManager[object]]


class App:
    """What a process runs, listed: importing a module registers nothing.

    amends orchestrator shop.app:app      the sagas
    amends participant shop.app:app       the participants (or one: shop.payments:payments)
    amends dev shop.app:app               everything, with the relay, in one process

    `databases` are those of `s.transaction(database=…)`: name -> URL. `lifespan` is entered around the local steps.
    Raises DefinitionError for two sagas of one name and version, two participants of one name, and what is neither.
    """

    def __init__(
        self,
        *,
        sagas: "Iterable[SagaType[Any, Any]]" = (),
        participants: "Iterable[Participant[Any]]" = (),
        databases: Mapping[str, str] | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        self.sagas = tuple(sagas)
        self.participants = tuple(participants)
        self.databases = dict(databases or {})
        self.lifespan = lifespan
        _refuse_what_is_none(self.sagas, "SagaType", "sagas", "@saga")
        _refuse_what_is_none(self.participants, "Participant", "participants", "Participant(...)")
        _refuse_doubles("sagas", [f"{saga.name} version {saga.version}" for saga in self.sagas])
        _refuse_doubles("participants", [participant.name for participant in self.participants])

    @asynccontextmanager
    async def running(self, settings: "Settings | None" = None) -> "AsyncIterator[Client]":
        """All of it in this process, for a script or a test; one database, which is migrated first.

        Settings None: from the environment, else of the local stack that runs in `var`. When a part ends by an error,
        the block is cancelled and the error comes out.
        """
        from orchestrator.run import everything

        async with everything(self, settings) as client:
            yield client


def _refuse_what_is_none(given: Iterable[object], class_name: str, argument: str, how: str) -> None:
    # By name: App must not import the participants' kit into an orchestrator, nor the saga loop into a participant.
    for thing in given:
        if class_name not in {cls.__name__ for cls in type(thing).__mro__}:
            what = f"the function {thing.__qualname__}" if inspect.isfunction(thing) else repr(thing)
            raise DefinitionError(f"App({argument}=[…]): {what} is no {class_name}: make one with {how}")


def _refuse_doubles(argument: str, names: list[str]) -> None:
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise DefinitionError(f"App({argument}=[…]): {', '.join(doubles)} is there twice")
