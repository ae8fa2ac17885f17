"""Where something was opened is kept as an instruction, and told as the line that Python itself would name."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from orchestrator.core.state import file_and_line, site_of

Told = list[tuple[str, str]]


def told(frame: FrameType) -> tuple[str, str]:
    """What we say, and what Python does."""
    return file_and_line(site_of(frame)), f"{frame.f_code.co_filename}:{frame.f_lineno}"


def here(*_: object) -> tuple[str, str]:
    return told(sys._getframe(1))


def on_the_first_line() -> Told: return [here()]  # fmt: skip


def over_several_lines() -> Told:
    return [
        here(),
        here(
            1,
            here(),
        ),
        # a comment
        here("""
            a text
        """),
    ]


def in_branches_and_loops() -> Told:
    found = []
    for number in range(3):
        if number:
            found.append(here())
        else:
            try:
                raise KeyError
            except KeyError:
                found.append(here())
            finally:
                found.append(here())
    return found


def in_inner_functions() -> Told:
    def generated() -> Iterator[tuple[str, str]]:
        yield here()
        yield here()

    return [*generated(), *[here() for _ in range(2)], *map(lambda _: here(), range(2))]  # noqa: C417


def far_down() -> Told:
    code = "def far():\n" + "    str(1)\n" * 500 + "    return [here()]\n"
    names = {"here": here}
    exec(code, names)
    far: Callable[[], Told] = names["far"]  # type: ignore[assignment]
    return far()


@pytest.mark.parametrize(
    "function", [on_the_first_line, over_several_lines, in_branches_and_loops, in_inner_functions, far_down]
)
def test_the_line_is_the_one_that_python_names(function: Callable[[], Told]) -> None:
    found = function()
    assert found
    assert [ours for ours, _ in found] == [pythons for _, pythons in found]
