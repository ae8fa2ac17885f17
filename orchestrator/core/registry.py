"""The saga functions that a process runs, by name and version. Registering runs the checks."""

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.core import determinism, values
from orchestrator.core.saga_type import SagaType
from orchestrator.errors import DefinitionError


class Registry:
    """Raises DefinitionError for two of one name and version, for types that can't be kept, for clocks in helpers."""

    def __init__(self, sagas: Iterable[SagaType[Any, Any]]) -> None:
        self._sagas: dict[tuple[str, int], SagaType[Any, Any]] = {}
        for saga in sagas:
            other = self._sagas.get((saga.name, saga.version))
            if other is not None and other is not saga:
                raise DefinitionError(
                    f"{saga.where}: saga {saga.name} version {saga.version} stands at {other.where} already: "
                    f"give one of them another name= or version="
                )
            values.adapter(saga.input_type)
            values.adapter(saga.result_type)
            determinism.check_helpers(saga.function, set())
            self._sagas[saga.name, saga.version] = saga

    def get(self, type: str, version: int) -> SagaType[Any, Any] | None:
        return self._sagas.get((type, version))

    def __iter__(self) -> Iterator[SagaType[Any, Any]]:
        return iter(self._sagas.values())
