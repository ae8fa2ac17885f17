"""What an examination of a machine is: with all its rules it holds, and without any one of them it breaks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import process_time

from tests.model.explorer import Machine, Verdict, explore

World = Callable[[frozenset[str]], Machine]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, and how its absence shows.

    Some rules are a second net under others. Such a mutant takes the other net away as well (`and_without`) or adds an
    assumption (`assuming`); it counts only if the world with this rule, and without that net, holds or breaks later.
    `redundant` says why nothing is found without it.
    """

    text: str
    and_without: frozenset[str] = frozenset()
    assuming: frozenset[str] = frozenset()
    redundant: str = ""


def rule(text: str, *, and_without: Iterable[str] = (), assuming: Iterable[str] = (), redundant: str = "") -> Rule:
    return Rule(text, frozenset(and_without), frozenset(assuming), redundant)


@dataclass(frozen=True, slots=True)
class Subject:
    """A machine, in one or several worlds (kinds of gateway), and its rules."""

    name: str
    worlds: tuple[World, ...]
    rules: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken away. `verdict.problem`: the story that shows it."""

    rule: str
    machine: str
    verdict: Verdict
    found: bool


@dataclass(slots=True)
class Result:
    """`whole`: one walk a world with all rules in force."""

    subject: Subject
    whole: list[tuple[str, Verdict]] = field(default_factory=list)
    mutants: list[Mutant] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def surprises(self) -> list[str]:
        """What is not as it should be; empty: all is well."""
        told = [f"{name}: {_told(v)}" for name, v in self.whole if v.problem]
        for mutant in self.mutants:
            redundant = self.subject.rules[mutant.rule].redundant
            if mutant.found and redundant:
                told.append(
                    f"without {mutant.rule} {mutant.machine} breaks, though: {redundant}. {_told(mutant.verdict)}"
                )
            elif not mutant.found and not redundant:
                told.append(f"without {mutant.rule} nothing is found that is due to it")
        return told


def hold(subject: Subject) -> list[tuple[str, Verdict]]:
    """Walk each world with all rules in force."""
    machines = [world(frozenset(subject.rules)) for world in subject.worlds]
    return [(machine.name, explore(machine)) for machine in machines]


def examine(subject: Subject) -> Result:
    """All worlds with all rules, then each rule taken away."""
    began = process_time()
    result = Result(subject, hold(subject))
    result.mutants = [without(subject, name) for name in subject.rules]
    result.seconds = process_time() - began
    return result


def without(subject: Subject, name: str) -> Mutant:
    """Take one rule away, and judge whether what breaks is due to it."""
    rule = subject.rules[name]
    left = (frozenset(subject.rules) - rule.and_without) | rule.assuming
    machine, verdict = _first_problem(subject, left - {name})
    found = verdict.problem is not None
    if found and (rule.and_without or rule.assuming):
        _, with_it = _first_problem(subject, left)
        found = with_it.problem is None or len(with_it.story) > len(verdict.story)
    return Mutant(name, machine, verdict, found)


def _first_problem(subject: Subject, rules: frozenset[str]) -> tuple[str, Verdict]:
    for world in subject.worlds:
        machine = world(rules)
        verdict = explore(machine)
        if verdict.problem:
            break
    return machine.name, verdict


def _told(verdict: Verdict) -> str:
    steps = "".join(f"\n    {n:2}. {step}" for n, step in enumerate(verdict.story, 1))
    return f"{verdict.problem}{steps}"
