"""Walk every state of a small machine and say, with the shortest story, where a promise breaks.

Each step is one of three kinds:

* ``must``:  it happens sooner or later if it stays possible (a relay that lives, a deadline that passes);
* ``may``:   it can happen, nobody can count on it (a process that was stopped wakes up);
* ``fault``: it can happen while the budget of faults lasts (a crash, a copy, a lost answer).

Three promises are checked. `broken`: what no state may show. `broken_at_rest`: what may not be true once nothing is
left to happen but new faults. And from every state, ``must`` steps alone lead to one that has `ended`: that finds
deadlocks and traps, though not unfair scheduling.
"""

import gc
from collections import deque
from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import process_time
from typing import Any, Literal

Kind = Literal["must", "may", "fault"]
Step = tuple[Kind, str, Any]

STATES_MAX = 3_000_000


class Machine:
    """A machine with rules that can be switched off; the modules beside this one fill it in."""

    name = "?"

    def __init__(self, rules: frozenset[str]) -> None:
        self.rules = rules

    def with_its_code(self) -> AbstractContextManager[object]:
        """A machine that runs the product's code breaks it here, for the rules that are off."""
        return nullcontext()

    def initial(self) -> Hashable:
        raise NotImplementedError

    def steps(self, state: Any) -> Iterable[Step]:
        raise NotImplementedError

    def broken(self, state: Any) -> str | None:
        return getattr(state, "alarm", "") or None

    def broken_at_rest(self, state: Any) -> str | None:
        return None

    def ended(self, state: Any) -> bool:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one walk found. `seconds` of this process's CPU; `story` is empty when every promise holds."""

    states: int
    seconds: float
    problem: str | None = None
    story: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    came_from: dict[Hashable, tuple[Hashable, str]]
    began: float = field(default_factory=process_time)

    def verdict(self, problem: str | None = None, state: Hashable = None) -> Verdict:
        story: list[str] = []
        while problem is not None and (before := self.came_from[state])[1]:
            state = before[0]
            story.append(before[1])
        return Verdict(len(self.came_from), process_time() - self.began, problem, tuple(reversed(story)))


def explore(machine: Machine) -> Verdict:
    """Breadth first, so that the first story found is a shortest one."""
    collecting = gc.isenabled()
    gc.disable()  # Nothing here is cyclic, and to look for cycles in a million tuples takes longer than the walk.
    try:
        with machine.with_its_code():
            return _explore(machine)
    finally:
        if collecting:
            gc.enable()


def _explore(machine: Machine) -> Verdict:
    first = machine.initial()
    walk = _Walk({first: (None, "")})
    came_from, queue = walk.came_from, deque([first])
    must_into: dict[Hashable, list[Hashable]] = {}
    goals: list[Hashable] = []
    while queue:
        state = queue.popleft()
        if problem := machine.broken(state):
            return walk.verdict(problem, state)
        at_rest = no_must = True
        for kind, label, after in machine.steps(state):
            if after == state:
                continue
            at_rest = at_rest and kind == "fault"
            if kind == "must":
                no_must = False
                must_into.setdefault(after, []).append(state)
            if after not in came_from:
                came_from[after] = (state, label)
                queue.append(after)
        if len(came_from) > STATES_MAX:
            raise RuntimeError(f"{machine.name}: more than {STATES_MAX} states; make the bounds smaller")
        if at_rest and (problem := machine.broken_at_rest(state)):
            return walk.verdict(f"at rest: {problem}", state)
        if machine.ended(state):
            goals.append(state)
        elif no_must:
            return walk.verdict("stuck: nothing more is bound to happen, and the work is not done", state)
    can_end = _backwards(goals, must_into)
    for state in came_from:  # In the order of discovery: the first one is a nearest one.
        if state not in can_end:
            return walk.verdict("trap: nothing that is bound to happen leads to an end from here", state)
    return walk.verdict()


def states(machine: Machine) -> Iterable[Any]:
    """Every state that can be reached; for tests that hold one against the real thing."""
    with machine.with_its_code():
        first = machine.initial()
        seen, queue = {first}, deque([first])
        while queue:
            state = queue.popleft()
            yield state
            for _, _, after in machine.steps(state):
                if after not in seen:
                    seen.add(after)
                    queue.append(after)


def _backwards(goals: list[Hashable], into: dict[Hashable, list[Hashable]]) -> set[Hashable]:
    reached, todo = set(goals), list(goals)
    while todo:
        for before in into.get(todo.pop(), ()):
            if before not in reached:
                reached.add(before)
                todo.append(before)
    return reached
