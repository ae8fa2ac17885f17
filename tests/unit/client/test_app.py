"""An App lists what a process runs; loading finds it wherever a person would point at it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrator import App, Participant, Saga, saga
from orchestrator.errors import DefinitionError
from orchestrator.loading import load_app


@saga
async def hello(s: Saga, name: str) -> str:
    return name


@saga(name="hello", version=2)
async def hello_two(s: Saga, name: str) -> str:
    return name


greeter = Participant("greeter")


async def plain(s: Saga, name: str) -> str:
    return name


def test_it_lists_what_it_is_given() -> None:
    app = App(sagas=[hello, hello_two], participants=[greeter], databases={"shop": "postgresql://h/d"})
    assert app.sagas == (hello, hello_two)
    assert app.participants == (greeter,)
    assert app.databases == {"shop": "postgresql://h/d"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sagas": [hello, hello]}, r"App\(sagas=\[…\]\): hello version 1 is there twice"),
        ({"participants": [greeter, Participant("greeter")]}, "greeter is there twice"),
        ({"sagas": [plain]}, "the function plain is no SagaType: make one with @saga"),
        ({"participants": [hello]}, "is no Participant"),
    ],
)
def test_what_cant_be_meant_is_refused(given, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        App(**given)


CODE = """
    from orchestrator import App, Participant, Saga, saga

    greeter = Participant("greeter")

    @saga
    async def welcome(s: Saga, name: str) -> str:
        return name
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to import from; what was imported is forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def write(folder: Path, name: str, more: str = "") -> None:
    (folder / name).write_text(textwrap.dedent(CODE) + more)


@pytest.mark.parametrize("target", ["shop_a.py", "shop_a", "./shop_a.py"])
def test_bare_sagas_and_participants_are_found(folder: Path, target: str) -> None:
    write(folder, "shop_a.py")
    app = load_app(target)
    assert [found.name for found in app.sagas] == ["welcome"]
    assert [found.name for found in app.participants] == ["greeter"]


@pytest.mark.parametrize("target", ["shop_b:app", "shop_b", "shop_b.py", "shop_b.py:app"])
def test_an_app_wins_over_what_stands_beside_it(folder: Path, target: str) -> None:
    write(folder, "shop_b.py", "app = App(participants=[greeter])\n")
    assert load_app(target).sagas == ()


def test_one_thing_or_a_list_of_things_may_be_named(folder: Path) -> None:
    write(folder, "shop_c.py", "both = [welcome, greeter]\n")
    assert load_app("shop_c:greeter").sagas == ()
    assert len(load_app("shop_c:welcome").sagas) == 1
    assert len(load_app("shop_c:both").participants) == 1


def test_a_file_with_the_name_of_an_installed_module_is_that_file(folder: Path) -> None:
    write(folder, "json.py")
    assert [found.name for found in load_app("json.py").sagas] == ["welcome"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere", "there is no module nowhere"),
        ("nowhere.py", "there is no file .*nowhere.py"),
        (":app", "names no module"),
        ("shop_d:missing", "shop_d has no 'missing'; it has greeter, welcome"),
        ("shop_d:number", "neither App, saga nor participant"),
        ("shop_e", "has 2 Apps: say which one"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, target: str, said: str) -> None:
    write(folder, "shop_d.py", "number = 1\n")
    write(folder, "shop_e.py", "one, two = App(), App()\n")
    with pytest.raises(DefinitionError, match=said):
        load_app(target)


def test_an_import_that_fails_inside_the_app_is_its_own_error(folder: Path) -> None:
    write(folder, "shop_f.py", "import missing_library\n")
    with pytest.raises(ModuleNotFoundError, match="missing_library"):
        load_app("shop_f")


def loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh process has loaded after this code."""
    script = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"sqlalchemy", "alembic", "httpx", "rich"}


def test_the_orchestrator_process_imports_nothing_heavy() -> None:
    """All that `amends orchestrator` imports before its first turn: it must be up again within a second."""
    loaded = loaded_by(
        "import sys\n"
        "sys.argv = ['amends', 'orchestrator', 'tests.unit.client.app_of_sagas:app']\n"
        "import orchestrator.cli.main, orchestrator.run\n"
        "from orchestrator.loading import load_app\n"
        "app = load_app('tests.unit.client.app_of_sagas:app')\n"
        "from orchestrator.core.registry import Registry\n"
        "Registry(app.sagas)\n"
        "import orchestrator.messaging.kafka, importlib.util\n"
        "if importlib.util.find_spec('orchestrator.engine.worker'):\n"
        "    import orchestrator.engine.worker\n"
    )
    assert loaded & HEAVY == set()


def test_a_relay_process_imports_neither_core_nor_participants() -> None:
    script = (
        "import sys, orchestrator.cli.main, orchestrator.run, outbox_relay; outbox_relay.Relay; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not [name for name in loaded if name.startswith(("orchestrator.core", "orchestrator.participant"))]
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


def test_a_client_imports_no_sqlalchemy_and_no_kafka() -> None:
    loaded = loaded_by("from orchestrator import Client, SyncClient, Started, Description\nClient(), SyncClient()")
    assert loaded & (HEAVY | {"confluent_kafka"}) == set()
