"""What saga code must not do, and how it is found (rule 20). Said honestly:

- when a function becomes a saga, its source is searched for clocks, randomness, environment and blocking calls
  (`check`), and when it is registered, so are the helpers of its module that take the handle;
- while a turn runs, new files, sockets and processes, and from Python 3.12 on threads, are refused at once by an audit
  hook (`install_guard`);
- what neither sees (a read on an open socket, a C extension that asks the clock) only a replay finds.
"""

import ast
import builtins
import inspect
import linecache
import logging
import os
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from orchestrator.core.blocked import author_line
from orchestrator.core.loop import SagaLoop
from orchestrator.errors import DefinitionError

# What it is called -> what to write instead. A name that ends in a dot stands for all that begins with it.
# fmt: off
INSTEAD: dict[str, str] = {
    **dict.fromkeys(("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
                     "time.perf_counter_ns", "time.localtime", "time.gmtime", "datetime.datetime.now",
                     "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"), "s.now()"),
    "time.sleep": "await asyncio.sleep(…)",
    "random.": "s.random()",
    "secrets.": "a step: await s.step(…)", "os.urandom": "a step: await s.step(…)",
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "uuid.getnode"), "s.uuid()"),
    "os.environ": "the saga's input, or a step", "os.getenv": "the saga's input, or a step",
    "os.getpid": "nothing of the process: it changes when the saga moves",
    **dict.fromkeys(("threading.Thread", "threading.Timer", "asyncio.to_thread", "subprocess.run", "subprocess.Popen",
                     "subprocess.check_output", "os.system", "builtins.open", "builtins.input", "socket.socket"),
                    "a step: await s.step(…)"),
    **dict.fromkeys(("requests.", "urllib.request.", "httpx.get", "httpx.post", "httpx.put", "httpx.request"),
                    "a step: await s.step(…)"),
    "builtins.id": "a name of yours: addresses change with every replay",
}
# fmt: on
_ALLOWED = frozenset(("random.Random",))  # with a seed of the saga's it is as good as s.random()

_REFUSED_EVENTS = frozenset(
    (
        "open",
        "socket.__new__",
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "_thread.start_new_thread",  # told from Python 3.12 on, as the next one from 3.13 on
        "_thread.start_joinable_thread",
        "sqlite3.connect",
        "urllib.Request",
    )
)
# Reading source or bytecode of modules is no I/O of the saga's: imports, tracebacks, log handlers that open late.
_READERS = (linecache.__file__, traceback.__file__, logging.__file__, "<frozen importlib")


def check(function: Callable[..., Any]) -> None:
    """Raise DefinitionError, with file, line and what to write, for what a replay can't repeat."""
    tree = _tree_of(function)
    if tree is None:
        return  # typed in at a prompt: there is no source to read
    names = _Names(function)
    for node in _own_nodes(tree, _handle_name(function)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.imported(node)
    for node in _own_nodes(tree, _handle_name(function)):
        if isinstance(node, ast.Attribute | ast.Name) and (found := names.banned(node)):
            path, instead = found
            line = function.__code__.co_firstlineno + node.lineno - 1
            raise DefinitionError(
                f"{function.__code__.co_filename}:{line}: a replay can't repeat {path}: write {instead}"
            )


def check_helpers(function: Callable[..., Any], seen: set[int]) -> None:
    """Check the functions of the same module that are named in it and take the handle, and theirs."""
    if id(function) in seen:
        return
    seen.add(id(function))
    for name in function.__code__.co_names:
        helper = function.__globals__.get(name)
        if inspect.iscoroutinefunction(helper) and inspect.isfunction(helper) and _takes_handle(helper):
            check(helper)
            check_helpers(helper, seen)


def _takes_handle(function: Callable[..., Any]) -> bool:
    return any(getattr(hint, "__name__", hint) == "Saga" for hint in function.__annotations__.values())


def _handle_name(function: Callable[..., Any]) -> str:
    return next(iter(inspect.signature(function).parameters), "")


def _tree_of(function: Callable[..., Any]) -> ast.AST | None:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        return ast.parse(source)
    except (OSError, SyntaxError):
        return None


def _own_nodes(tree: ast.AST, handle: str) -> Iterator[ast.AST]:
    """All nodes but those of inner functions that don't use the handle: these are steps, which may do as they like."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for child in _code_in(node):
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if inner and not isinstance(node, ast.Module) and not _uses(child, handle):
                continue
            waiting.append(child)


def _code_in(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of it that run in the saga: no annotations, no decorators."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, ast.AST):
                yield part


def _uses(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


class _Names:
    """Resolves what an expression names, through the function's globals, closure and own imports."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._scope: dict[str, Any] = {**vars(builtins), **function.__globals__, **_closure_of(function)}
        self._local: dict[str, str] = {}

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                self._local[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            else:
                root = alias.name.split(".")[0]
                self._local[alias.asname or root] = alias.name if alias.asname else root

    def banned(self, node: ast.Attribute | ast.Name) -> tuple[str, str] | None:
        path = self._path(node)
        if path is None or path in _ALLOWED:
            return None
        if path in INSTEAD:
            return path, INSTEAD[path]
        for prefix, instead in INSTEAD.items():
            if prefix.endswith(".") and path.startswith(prefix):
                return path, instead
        return None

    def _path(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Attribute):
            root = self._path(node.value)
            return f"{root}.{node.attr}" if root else None
        if not isinstance(node, ast.Name):
            return None
        if node.id in self._local:
            return self._local[node.id]
        return _path_of(self._scope.get(node.id))


def _closure_of(function: Callable[..., Any]) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # Not assigned yet: a saga that names itself.
    return found


def _path_of(value: Any) -> str | None:
    if value is open:
        return "builtins.open"  # it says that it is _io's
    if inspect.ismodule(value):
        return value.__name__
    if isinstance(value, type) or inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    owner = getattr(value, "__self__", None)
    if inspect.isbuiltin(value):
        module = value.__module__ or ""
        return "random." + value.__name__ if type(owner).__module__ == "random" else f"{module}.{value.__name__}"
    if inspect.ismethod(value) and type(owner).__module__ == "random":
        return f"random.{value.__name__}"
    return "os.environ" if value is os.environ else None


# ---- the guard while a turn runs -------------------------------------------------------------------------------------


class _Guard(threading.local):
    loop: SagaLoop | None = None


_GUARD = _Guard()
_INSTALLED = threading.Event()


def install_guard() -> None:
    """Once a process, by whoever runs turns. An audit hook can't be taken out; it only looks while a turn runs."""
    if not _INSTALLED.is_set():
        _INSTALLED.set()
        sys.addaudithook(_audit)


def guard(loop: SagaLoop | None) -> SagaLoop | None:
    """Watch this thread for the turn of a saga (None: no longer). Returns whom it watched before, to be put back."""
    before, _GUARD.loop = _GUARD.loop, loop
    return before


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in _REFUSED_EVENTS:
        return
    loop = _GUARD.loop
    if loop is None:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_READERS):
            return
        frame = frame.f_back
    what = f"{event}({args[0]!r})" if args and isinstance(args[0], str) else event
    where = author_line(sys._getframe(1))
    raise loop.misuse(f"{where}: {what} reaches outside of the saga: use s.step(function, …) for it")
