"""`amends schemas write | check | register`, as a build and a deploy run them: without servers of ours, on an app that
changes between two deploys.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import contracts, errors
from orchestrator.cli import exits
from orchestrator.cli.context import CONTEXT
from orchestrator.cli.main import main
from tests.schema_registry import SchemaRegistry

FIRST = "number: str"
GROWN = 'number: str; colour: str = "brown"'
BROKEN = "number: str; weight: int"
APP = """
from orchestrator import App, Command, Message, Saga, saga

class Parcel(Message):
    {fields}

class Pack(Command[Parcel], service="packers"):
    number: str

@saga
async def send_it(s: Saga, number: str) -> Parcel:
    return await s.call(Pack(number=number))

app = App(sagas=[send_it])
"""

Amends = Callable[..., tuple[int, str, str]]


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The app with a Parcel of these fields, as a process sees it that imports nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(errors, "_DECLARED", {})

    def write(fields: str) -> None:
        (tmp_path / "parcels.py").write_text(APP.format(fields=fields))
        sys.modules.pop("parcels", None)
        importlib.invalidate_caches()
        monkeypatch.setattr(contracts, "_MESSAGES", {})
        monkeypatch.setattr(contracts, "_DECLARED", {})

    return write


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    made = SchemaRegistry()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def amends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Amends]:
    """Run `amends schemas …` there: exit code, stdout, stderr."""
    for variable in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "AMENDS_SCHEMAS_DIR", "AMENDS_APP"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, registry: SchemaRegistry | None = None) -> tuple[int, str, str]:
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry.url if registry else "")
        CONTEXT.as_json = False
        with pytest.raises(SystemExit) as end:
            main(["schemas", *arguments])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    yield run
    sys.modules.pop("parcels", None)


def test_check_fails_on_an_incompatible_change_and_on_files_that_are_not_written(
    amends: Amends, deploy: Callable[[str], None], tmp_path: Path
) -> None:
    deploy(FIRST)
    code, _, said = amends("check", "parcels:app")
    assert code == exits.DEFINITION and "schemas/Parcel.avsc: missing; type `amends schemas write`" in said
    code, written, _ = amends("write", "parcels:app")
    assert (code, written.split()) == (exits.OK, ["schemas/Pack.avsc", "schemas/Parcel.avsc"])
    assert amends("check", "parcels:app") == (exits.OK, "", "the classes fit schemas\n")

    deploy(GROWN)
    code, _, said = amends("check", "parcels:app")
    assert code == exits.DEFINITION and "Parcel.avsc: differs from the class Parcel" in said
    assert amends("write", "parcels:app")[0] == exits.OK
    assert amends("check", "parcels:app")[0] == exits.OK

    deploy(BROKEN)
    code, _, said = amends("check", "parcels:app")
    assert code == exits.DEFINITION
    assert "schemas/Parcel.avsc: Parcel.weight is new and has no default" in said
    assert "Parcel.colour is gone" in said
    assert "schemas/former/Parcel." in said, "the version before the present one counts as well"
    before = {path: path.read_text() for path in tmp_path.rglob("*.avsc")}
    assert amends("write", "parcels:app")[0] == exits.DEFINITION
    assert {path: path.read_text() for path in tmp_path.rglob("*.avsc")} == before


def test_register_is_a_deploys_step_and_check_asks_the_registry_too(
    amends: Amends, deploy: Callable[[str], None], registry: SchemaRegistry
) -> None:
    deploy(FIRST)
    assert amends("write", "parcels:app")[0] == exits.OK
    assert amends("check", "parcels:app", registry=registry)[0] == exits.OK, "what is not there yet breaks nothing"
    assert registry.subjects == {}, "a check writes nothing"
    code, shown, said = amends("register", "parcels:app", registry=registry)
    assert code == exits.OK, said
    ours = ["amends.ChildEnded", "amends.Problem", "amends.Settled", "amends.Start", "amends.Undo"]
    assert sorted(registry.subjects) == ["Pack", "Parcel", *ours]
    assert set(registry.levels.values()) == {"BACKWARD_TRANSITIVE"} and len(registry.levels) == 7
    assert "Parcel" in shown and "7 of 7 registered" in said
    code, shown, _ = amends("register", "parcels:app", "--json", registry=registry)
    assert code == exits.OK and not any(row["is_new"] for row in json.loads(shown))

    # Nobody wrote files here, or they were lost: the registry knows all the same what was sent.
    deploy(BROKEN)
    code, _, said = amends("check", "parcels:app", registry=registry)
    assert code == exits.DEFINITION
    assert f"Parcel, version 1 of {registry.url}: Parcel.weight is new and has no default" in said
    code, _, said = amends("register", "parcels:app", registry=registry)
    assert code == exits.DEFINITION and "nothing was registered" in said
    assert len(registry.subjects["Parcel"]) == 1

    deploy(GROWN)
    assert amends("register", "parcels:app", registry=registry)[0] == exits.OK
    assert len(registry.subjects["Parcel"]) == 2


def test_without_a_registry_it_says_what_is_missing(
    amends: Amends, deploy: Callable[[str], None], registry: SchemaRegistry
) -> None:
    deploy(FIRST)
    code, _, said = amends("register", "parcels:app")
    assert code == exits.REFUSED and "SCHEMA_REGISTRY_URL is not set" in said
    registry.stop()
    for command in ("check", "register"):
        code, _, said = amends(command, "parcels:app", registry=registry)
        assert code == exits.DEPENDENCY and "not reachable" in said
