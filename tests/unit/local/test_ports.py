"""Two stacks never share a port, a stack keeps its own, and a port that somebody else took meanwhile is given up."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.local import ports
from orchestrator.local.paths import VarDir

NAMES = ("postgres", "kafka", "kafka-controller")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_a_stack_keeps_its_ports(cache: Path, tmp_path: Path) -> None:
    var = VarDir.at(tmp_path / "one")
    taken = ports.take(NAMES, var, cache)
    assert ports.take(NAMES, var, cache) == taken == ports.read(var.ports)
    assert all(ports.PORT_MIN <= port <= ports.PORT_MAX for port in taken.values())


def test_stacks_that_begin_at_once_get_different_ports(cache: Path, tmp_path: Path) -> None:
    stacks = [VarDir.at(tmp_path / str(n)) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda var: ports.take(NAMES, var, cache), stacks))
    assert len({port for stack in taken for port in stack.values()}) == 8 * len(NAMES)


def test_a_neighbours_free_port_is_still_the_neighbours(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "PORT_MAX", ports.PORT_MIN + 1)
    first = ports.take(["a"], VarDir.at(tmp_path / "one"), cache)
    second = ports.take(["a"], VarDir.at(tmp_path / "two"), cache)
    assert first["a"] != second["a"]
    with pytest.raises(ports.NoFreePort, match="make down"):
        ports.take(["a"], VarDir.at(tmp_path / "three"), cache)


def test_a_port_that_another_program_listens_on_is_given_up(cache: Path, tmp_path: Path) -> None:
    var = VarDir.at(tmp_path / "one")
    before = ports.take(["a"], var, cache)["a"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", before))
        other.listen()
        assert ports.take(["a"], var, cache)["a"] != before


def test_a_removed_stacks_ports_are_free_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORT_MAX", ports.PORT_MIN)
    gone = VarDir.at(tmp_path / "gone")
    ports.take(["a"], gone, cache)
    gone.ports.unlink()
    ports.take(["a"], VarDir.at(tmp_path / "new"), cache)


def test_a_half_written_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"postg')
    assert ports.read(tmp_path / "ports.json") == {}
