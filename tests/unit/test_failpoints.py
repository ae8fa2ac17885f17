"""No commit and no send without a failpoint, and no failpoint at which no test kills.

What is read: the runtime's own processes, `outbox_relay` and `orchestrator.engine`. What is not, and why:

- `local`, `cli`, `dev`, `run`, `testing`: they run programs, and people type them again; no saga hangs on them.
- `migrations` and `messaging.topics`: `amends migrate` is one transaction, and may be run again.
- `client`: its statements commit with the caller's own transaction, or are one statement that the caller repeats.
- `participant`: its connections name the place of each commit, and make the two failpoints of it themselves; so its
  inventory is `tests/unit/participant/test_commits.py`, and tests/integration/participant/test_crashes.py kills at all.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("outbox_relay", "orchestrator/engine")

WRITES = re.compile(
    r"\b(INSERT INTO|(?<!FOR )(?<!KEY )UPDATE\s+\w|DELETE FROM|CREATE |DROP |ALTER |TRUNCATE|MERGE |COMMIT"
    r"|CREATE_REPLICATION_SLOT|pg_drop_replication_slot|SELECT amends\.\w+\()"
)
STATEMENT_CALLS = {"execute", "executemany", "command"}

# "room.module.function": why it needs none. A name that stands here without need fails too.
EXCEPTIONS = {
    "outbox_relay.dead.ask_redrive": "a person's verb, one statement in the process of the CLI",
    "outbox_relay.dead.discard": "a person's verb, one statement in the process of the CLI",
    "outbox_relay.lease.switch": "a person's verb, one statement in the process of the CLI",
    "outbox_relay.sent.resend_since": "a person's verb, one statement in the process of the CLI",
    "outbox_relay.connections.first_row": "the caller's own transaction",
    "outbox_relay.connections.first_row_async": "the caller's own transaction",
    "orchestrator.engine.workers.register": "says who lives; others judge by the sessions, which end with the process",
    "orchestrator.engine.workers.beat": "says who lives; the next beat says it again",
    "orchestrator.engine.workers.drain": "says who leaves; others judge by the sessions, which end with the process",
    "orchestrator.engine.workers.forget": "says who lives; others judge by the sessions, which end with the process",
    "orchestrator.engine.workers.ask": "a wish for a shard, repeated until it is granted",
    "orchestrator.engine.workers.answered": "takes a granted wish away; a void one is taken away by whoever asked",
    "orchestrator.engine.feed._go_on": "says that batches are told; a watcher sees another time when it is said again",
    "orchestrator.engine.feed._leave_off": "says that none need be told any more; the next look says it again",
    "orchestrator.engine.span_queue.shed": "gives up spans that a dead collector left; again at the next refusal",
}


@dataclass
class Function:
    """A function of ours: `writes` are the lines that commit or send; `calls` are the names of ours that it calls."""

    name: str
    module: str
    has_failpoint: bool = False
    writes: list[int] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)


class Module(ast.NodeVisitor):
    """Reads one module; `functions` by their full name."""

    def __init__(self, name: str, source: str, constants: dict[str, str]) -> None:
        self.name = name
        self.functions: dict[str, Function] = {}
        self._constants, self._imports = constants, {}
        self._within: list[Function] = [Function(f"{self.name}.<module>", self.name)]
        self._transactions = 0
        self.visit(ast.parse(source))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for one in node.names:
            self._imports[one.asname or one.name] = f"{node.module}.{one.name}"

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        name = f"{self.name}.{node.name}"
        made = self.functions.setdefault(name, Function(name, self.name))  # methods of one name count as one
        self._within.append(made)
        outer, self._transactions = self._transactions, 0
        self.generic_visit(node)
        self._transactions = outer
        self._within.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # ast's names

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        opens = [
            item.context_expr
            for item in node.items
            if isinstance(item.context_expr, ast.Call) and _attribute(item.context_expr) == "transaction"
        ]
        if opens:
            self._within[-1].writes.append(node.lineno)
        self._transactions += bool(opens)
        self.generic_visit(node)
        self._transactions -= bool(opens)

    visit_AsyncWith = visit_With  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        here = self._within[-1]
        match node.func:
            case ast.Name("failpoint"):
                here.has_failpoint = True
            case ast.Name(name):
                here.calls.add(self._imports.get(name, f"{self.name}.{name}"))
            case ast.Attribute(ast.Name(owner), name) if owner in self._imports:
                here.calls.add(f"{self._imports[owner]}.{name}")
            case ast.Attribute(_, name):
                here.calls.add(f"{self.name}.{name}")
        if self._commits(node):
            here.writes.append(node.lineno)
        self.generic_visit(node)

    def _commits(self, node: ast.Call) -> bool:
        name = _attribute(node)
        if name in STATEMENT_CALLS and not self._transactions:
            text = self._text(node.args[0]) if node.args else None
            return text is None or bool(WRITES.search(text))
        return name in {"produce", "put_copy_data"} or (name == "commit" and not node.args)

    def _text(self, node: ast.expr) -> str | None:
        """A statement as far as it can be read here; None: it might be any."""
        match node:
            case ast.Constant(str(text)):
                return text
            case ast.JoinedStr(parts):
                return "".join(self._text(part) or "" for part in parts)
            case ast.FormattedValue(value):
                return self._text(value)
            case ast.Name(name):
                return self._constants.get(self._imports.get(name, f"{self.name}.{name}"))
            case ast.Attribute(ast.Name(owner), name):
                return self._constants.get(f"{self._imports.get(owner)}.{name}")
            case ast.Call(ast.Attribute(ast.Call() as made, "format")) | ast.Call(_, [ast.expr() as made, *_]):
                return self._text(made)
        return None


def _attribute(node: ast.Call) -> str | None:
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def constants() -> dict[str, str]:
    """Every text that a module names at its top, f-strings without what they put in."""
    found = {}
    for package in ("orchestrator", "outbox_relay"):
        for path in (ROOT / package).rglob("*.py"):
            module = module_name(path)
            for node in ast.parse(path.read_text()).body:
                target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
                value = getattr(node, "value", None)
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant | ast.JoinedStr):
                    parts = value.values if isinstance(value, ast.JoinedStr) else [value]
                    texts = [part.value for part in parts if isinstance(part, ast.Constant)]
                    found[f"{module}.{target.id}"] = "".join(map(str, texts))
    return found


@cache
def functions() -> dict[str, Function]:
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    modules = [Module(module_name(path), path.read_text(), constants()) for path in paths]
    return {name: function for module in modules for name, function in module.functions.items()}


def uncovered(found: dict[str, Function]) -> dict[str, list[int]]:
    """Functions that write with no failpoint in them, nor in each of those that call them."""
    bare = {}
    for name, function in found.items():
        callers = [other for other in found.values() if name in other.calls and other is not function]
        around = bool(callers) and all(caller.has_failpoint for caller in callers)
        if function.writes and not function.has_failpoint and not around:
            bare[name] = sorted(function.writes)
    return bare


def test_every_commit_and_every_send_stands_at_a_failpoint() -> None:
    bare = uncovered(functions())
    missing = {name: lines for name, lines in bare.items() if name not in EXCEPTIONS}
    assert missing == {}, "put failpoint('<room>.<what>.before') and .after around them, and kill there in a test"
    assert EXCEPTIONS.keys() - bare.keys() == set(), "these exceptions are needed no longer"


def test_the_inventory_sees_what_it_should() -> None:
    """The commits that this system stands on, and one of each kind: a check that sees nothing passes everything."""
    writing = {name for name, function in functions().items() if function.writes}
    assert writing >= {
        "orchestrator.engine.batch._execute_joined",
        "orchestrator.engine.batch._execute_in_turn",
        "orchestrator.engine.fence._claim",
        "orchestrator.engine.fence.release",
        "orchestrator.engine.recovery.send_again",
        "orchestrator.engine.step_results.run_async",
        "outbox_relay.dead.move",
        "outbox_relay.lease._hold",
        "outbox_relay.publisher.send",
        "outbox_relay.replication._answer",
        "outbox_relay.sent.make_partitions",
        "outbox_relay.slot.create",
        "outbox_relay.slot.drop",
        "outbox_relay.slot.note",
        "outbox_relay.table.delete_sent",
    }


PLANTED = {
    "a commit": "def f(c):\n    c.commit()",
    "a transaction": "def f(c):\n    with c.pipeline(), c.transaction():\n        pass",
    "an async transaction": "async def f(c):\n    async with c.transaction() as t:\n        await t.execute(READ)",
    "a write": "from outbox_relay import table\ndef f(c):\n    c.execute(table.DELETE_SENT, ())",
    "a write in place": "def f(c):\n    c.execute('UPDATE amends.shards SET epoch = 0')",
    "a write by a function": "def f(c):\n    c.execute('SELECT amends.fence(%s)')",
    "a statement that can't be read": "def f(c, statement):\n    c.execute(statement)",
    "a send": "class P:\n    def f(self):\n        self._producer.produce('topic')",
    "a write whose caller has none": "def f(c):\n    c.execute('DROP TABLE t')\ndef g(c):\n    f(c)",
}


@pytest.mark.parametrize("source", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_hole_is_seen_until_a_failpoint_stands_there(source: str) -> None:
    assert list(uncovered(Module("planted", source, constants()).functions)) == ["planted.f"]
    mended = re.sub(r"(def f\(.*\):)\n( +)", r"\1\n\2failpoint('x')\n\2", source)
    assert uncovered(Module("planted", mended, constants()).functions) == {}


@pytest.mark.parametrize("text", ["SELECT 1 FOR UPDATE OF o", "SELECT 1 FROM amends.outbox", "SHOW wal_level"])
def test_reading_needs_none(text: str) -> None:
    assert uncovered(Module("planted", f"def f(c):\n    c.execute({text!r})", constants()).functions) == {}


def names_in_the_code() -> Iterator[str]:
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                [argument] = node.args
                assert isinstance(argument, ast.Constant), f"{path}: a failpoint's name is written out"
                yield argument.value


def names_that_tests_arm() -> set[str]:
    """Words of the texts in tests that kill, stop or raise at a failpoint: `name`, `name=hit`, `name=kill@3`."""
    armed: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path == Path(__file__):
            continue
        source = path.read_text()
        if re.search(r"=(kill|stop|raise)\b", source) and "failpoints" in source:
            nodes = ast.walk(ast.parse(source))
            texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            armed.update(re.split("[=@]", word)[0] for text in texts for word in text.split(","))
    return armed


def test_a_test_kills_stops_or_fails_the_process_at_every_failpoint() -> None:
    assert sorted(set(names_in_the_code()) - names_that_tests_arm()) == []
