"""`@saga`: a saga function becomes a SagaType. Importing a module registers nothing: an App lists its sagas."""

import inspect
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from orchestrator import limits
from orchestrator.core import determinism
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from orchestrator.core.saga import Saga

_I = TypeVar("_I")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_INPUT_PARAMETERS = 2  # the handle and the input


class SagaType(Generic[_I, _R_co]):
    """A saga function after `@saga`: it is started or run by name, never called."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, _R_co]], name: str, version: int) -> None:
        self.function = function
        self._name = name
        self._version = version

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> int:
        return self._version

    @property
    def where(self) -> str:
        """`file:line` of the function, for messages."""
        code = self.function.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    @property
    def input_type(self) -> Any:
        return self._types[0]

    @property
    def result_type(self) -> Any:
        return self._types[1]

    @cached_property
    def _types(self) -> tuple[Any, Any]:
        # Late, for the annotations may name classes that stand below the function.
        try:
            signature = inspect.signature(self.function, eval_str=True)
        except NameError as error:
            raise DefinitionError(f"{self.where}: saga {self.name}: an annotation can't be resolved: {error}") from None
        _, given = signature.parameters.values()
        if given.annotation is given.empty or signature.return_annotation is signature.empty:
            raise DefinitionError(
                f"{self.where}: saga {self.name}: its input and its result are kept in a journal, so both need a type: "
                f"async def {self.function.__name__}(s: Saga, order: Order) -> Receipt"
            )
        return given.annotation, signature.return_annotation

    if not TYPE_CHECKING:  # a type checker is to say so too, and it does where there is no __call__

        def __call__(self, *_: Any, **__: Any) -> Any:
            raise TypeError(
                f"saga {self.name} can't be called: inside a saga `await s.run({self.function.__name__}, …)`, "
                f"outside `client.start({self.function.__name__}, …, id=…)`"
            )

    def __repr__(self) -> str:
        return f"<saga {self.name} version {self.version}>"


@overload
def saga(function: "Callable[[Saga, _I], Coroutine[Any, Any, _R]]", /) -> SagaType[_I, _R]: ...
@overload
def saga(
    *, name: str | None = None, version: int = 1
) -> "Callable[[Callable[[Saga, _I], Coroutine[Any, Any, _R]]], SagaType[_I, _R]]": ...
def saga(function: Any = None, /, *, name: str | None = None, version: int = 1) -> Any:
    """Declare a saga. `name` is its name on the wire (default: the function's); a new `version` leaves the sagas that
    run on the version they began with.

    Raises DefinitionError for a function of another shape, or one that reads the clock or rolls dice (rule 20).
    """
    if function is None:
        return lambda decorated: _saga_type(decorated, name, version)
    return _saga_type(function, name, version)


def _saga_type(function: Any, name: str | None, version: int) -> SagaType[Any, Any]:
    if not inspect.iscoroutinefunction(function) or not inspect.isfunction(function):
        raise DefinitionError(f"@saga is for `async def` functions, not for {function!r}")
    name = name or function.__name__
    shape = inspect.signature(function).parameters.values()
    odd = any(p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in shape)
    where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    if len(shape) != _INPUT_PARAMETERS or odd:
        raise DefinitionError(
            f"{where}: a saga takes its handle and ONE input, which may grow fields over the years: "
            f"async def {function.__name__}(s: Saga, order: Order) -> Receipt"
        )
    if not 0 < len(name) <= limits.NAME_CHARS_MAX or not name.isprintable():
        raise DefinitionError(f"{where}: {name!r} can't name a saga: 1-{limits.NAME_CHARS_MAX} printable characters")
    if version < 1:
        raise DefinitionError(f"{where}: versions of a saga begin with 1")
    determinism.check(function)
    return SagaType(function, name, version)
