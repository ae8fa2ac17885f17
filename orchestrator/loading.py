"""Find what a command is to run: `shop.app:app`, `shop.app`, `app.py`, `app.py:app`.

The object may be an App, a saga, a participant, or a list of those; a module without `:name` is searched for them.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.app import App
from orchestrator.errors import DefinitionError

EXAMPLE = "amends dev app.py, or amends orchestrator shop.app:app"


def load_app(target: str) -> App:
    """The App that `target` names, or one made of the sagas and participants found there. Raises DefinitionError."""
    place, _, name = target.partition(":")
    if not place:
        raise DefinitionError(f"{target!r} names no module; for example: {EXAMPLE}")
    module = _module(place)
    if name:
        return _app_of(_attribute(module, name), target)
    apps = [value for value in vars(module).values() if isinstance(value, App)]
    if len(apps) > 1:
        raise DefinitionError(f"{target} has {len(apps)} Apps: say which one, as in {target}:app")
    return apps[0] if apps else _app_of(list(_parts(vars(module).values())), target)


def _module(place: str) -> ModuleType:
    is_file = place.endswith(".py") or "/" in place
    path = Path(place).resolve()
    folder = str(path.parent) if is_file else str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if is_file and not path.is_file():
        raise DefinitionError(f"there is no file {path}")
    module_name = path.stem if is_file else place
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise DefinitionError(
                f"there is no module {module_name} (looked in {folder} and the installed ones)"
            ) from None
        raise
    if is_file and Path(str(module.__file__)).resolve() != path:
        return _from_file(path)
    return module


def _from_file(path: Path) -> ModuleType:
    """A file whose name is taken by a module that is installed: under a name of its own."""
    name = f"amends_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DefinitionError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, name: str) -> object:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = ", ".join(n for n, value in vars(module).items() if isinstance(value, App) or _is_part(value))
            raise DefinitionError(
                f"{module.__name__} has no {name!r}; it has {names or 'neither App, saga nor participant'}"
            )
        found = getattr(found, part)
    return found


def _app_of(found: object, target: str) -> App:
    if isinstance(found, App):
        return found
    parts = list(_parts(found if isinstance(found, list | tuple | set) else [found]))
    sagas: list[Any] = [part for part in parts if _kind(part) == "SagaType"]
    participants: list[Any] = [part for part in parts if _kind(part) == "Participant"]
    if not parts:
        raise DefinitionError(f"{target}: neither App, saga nor participant is there; for example: {EXAMPLE}")
    return App(sagas=sagas, participants=participants)


def _parts(values: Iterable[object]) -> Iterator[object]:
    seen: set[int] = set()
    for value in values:
        if _is_part(value) and id(value) not in seen:
            seen.add(id(value))
            yield value


def _is_part(value: object) -> bool:
    return _kind(value) != ""


def _kind(value: object) -> str:
    # By name, as in App: loading must not import the room that the process does not run.
    for cls in type(value).__mro__:
        if cls.__module__.startswith("orchestrator.") and cls.__name__ in ("SagaType", "Participant"):
            return cls.__name__
    return ""
