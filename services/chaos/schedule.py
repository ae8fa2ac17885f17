"""What is done to whom, when and for how long: a function of the seed and of nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from services.chaos.network import ALL_AT_ONCE, TO_GATEWAY, TO_KAFKA, TO_POSTGRES

ORCHESTRATORS = ("orchestrator-1", "orchestrator-2")
RELAYS = ("relay-1", "relay-2")
SERVICES = ("orders", "stock", "payments", "shipping", "analytics")
OURS = (*ORCHESTRATORS, *RELAYS, *SERVICES)
EVERY_LINK = (*TO_POSTGRES, *TO_KAFKA, *TO_GATEWAY, *ALL_AT_ONCE)

# Places in an orchestrator and in a service with an outside call: inside of a claim, a commit, a gateway's call.
COMMITS = ("engine.claim.before", "engine.claim.after", "engine.commit.before", "engine.commit.after")
CALLS = ("participant.call.before", "participant.call.after")
INSIDE = (
    *(f"{name} at {place}" for name in ORCHESTRATORS for place in COMMITS),
    *(f"payments at {place}" for place in CALLS),
)

FIRST_AT_S = 5.0  # counted from when all are at work; until then some checkouts are under way
BETWEEN_S = 4.0  # from the end of a fault until all have moved again, and a moment of quiet, where nothing is amiss


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: who may be its target, and how long it lasts. `says` is what a person reads."""

    name: str
    says: str
    targets: tuple[str, ...]
    shortest_s: float = 0.0
    longest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`at_s` is counted from when all are at work, and is the earliest: a slow recovery delays what comes after."""

    at_s: float
    kind: str
    target: str
    duration_s: float


KINDS: tuple[Kind, ...] = (
    Kind("kill", "SIGKILL, and started again", (*OURS, "gateway"), 0, 1),
    Kind("leave dead", "SIGKILL, and not started again before its peers have moved", (*ORCHESTRATORS, *RELAYS)),
    Kind("kill both", "SIGKILL to both, and started again", ("orchestrators", "relays"), 0, 1),
    Kind("die inside", "SIGKILL by a failpoint", INSIDE),
    Kind("stop inside", "SIGSTOP by a failpoint, SIGCONT after its lease", INSIDE, 4, 6),
    Kind("freeze", "SIGSTOP, SIGCONT before its lease is over", (*OURS, "gateway"), 0.3, 1),
    Kind("freeze long", "SIGSTOP, SIGCONT long after its lease", OURS, 4, 8),
    Kind("end sessions", "pg_terminate_backend of every session", ("all databases",)),
    Kind("end sessions on and on", "the same again and again", ("all databases",), 2, 5),
    Kind("cut", "connections reset, new ones refused", EVERY_LINK, 1, 4),
    Kind("swallow", "half open: taken, and nothing goes through", EVERY_LINK, 1, 6),
    Kind("slow", "slow, by a tenth of a second a chunk", EVERY_LINK, 2, 4),
    Kind("gateway slow", "it answers in 1.5 to 3.5 s", ("gateway",), 2, 4),
    Kind("gateway down", "503, or it hangs up", ("gateway",), 2, 4),
    Kind("kafka killed", "SIGKILL, away, and started again", ("kafka",), 0.5, 3),
    Kind("kafka wiped", "SIGKILL, its data deleted, started again, topics made", ("kafka",), 0.5, 1),
    Kind("topic made anew", "deleted and made again", ("topic sagas",)),
    Kind("postgres killed", "SIGKILL, away, and started again", ("postgres",), 0.5, 3),
)
BY_NAME = {kind.name: kind for kind in KINDS}


def schedule(seed: int, seconds: float, kinds: Sequence[Kind] = KINDS) -> list[Fault]:
    """As many faults as fit. Each kind comes once before any comes twice, and so does each target of a kind."""
    found: list[Fault] = []
    at_s = FIRST_AT_S
    for kind, target, duration_s in draws(Random(seed), kinds):
        if at_s + duration_s + BETWEEN_S > seconds:
            return found
        found.append(Fault(round(at_s, 1), kind.name, target, duration_s))
        at_s += duration_s + BETWEEN_S
    return found


def draws(dice: Random, kinds: Sequence[Kind]) -> Iterator[tuple[Kind, str, float]]:
    """For ever: a kind, a target, a duration."""
    left: dict[str, list[str]] = {kind.name: [] for kind in kinds}
    while kinds:
        for kind in dice.sample(kinds, len(kinds)):
            if not left[kind.name]:
                left[kind.name] = dice.sample(kind.targets, len(kind.targets))
            yield kind, left[kind.name].pop(), round(dice.uniform(kind.shortest_s, kind.longest_s), 1)
