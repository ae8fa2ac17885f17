"""M6: whose answer is it? A saga charges, ends, its id is used again, it is rewound, or a deploy changes its code.

The participant keeps (key, type and body) -> answer. Each request that the business means must have its own effect,
and none may be answered with the answer to another one. Keys, body hashes, the participant's judgement of a conflict
and the nonce are the product's. Runs that rise (continue-as, rewind) are not built yet: `run` is in the key and is 0;
the rule is kept here so that whoever builds them finds it.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

from orchestrator.core.ids import SagaIdentity
from orchestrator.messaging.nonce import is_genuine, nonce_of
from orchestrator.participant import commands
from orchestrator.participant.requests import body_hash
from tests.model.explorer import Machine, Step
from tests.model.inbox import Row as InboxRow
from tests.model.inbox import _Charge, _entry
from tests.model.rules import Subject, rule

SECRET = b"of the installation"

RULES = {
    "run_in_key": rule("1: the key has the run, which rises with continue-as, rewind and fork"),
    "uid_in_key": rule("1: the key has a uid minted by us, not the user's id"),
    "body_hash": rule("1: the inbox compares type and body, and answers `conflict`: the saga is quarantined"),
    "nonce": rule("F: an answer that does not echo the nonce of its operation is counted as forged"),
}


class State(NamedTuple):
    uid: int = 1
    run: int = 0
    amount: int = 10
    asked: bool = False
    inbox: frozenset[tuple[str, int]] = frozenset()  # (key, the amount of its command)
    quarantined: bool = False
    turns_left: int = 3  # how often the story goes on in some way
    forgeries: int = 1
    alarm: str = ""


class IdentityMachine(Machine):
    name = "M6 identity"

    def initial(self) -> State:
        return State()

    def ended(self, s: State) -> bool:
        return s.asked or s.quarantined

    def key(self, s: State) -> str:
        uid = f"uid-{s.uid}" if "uid_in_key" in self.rules else "order-7"
        run = s.run if "run_in_key" in self.rules else 0
        return SagaIdentity(id="order-7", uid=uid, type="subscription", version=1, shard=0, run=run).key(0)

    def steps(self, s: State) -> Iterator[Step]:
        if s.quarantined:
            return
        if not s.asked:
            yield from self.ask(s)
        elif s.turns_left:
            on = s._replace(asked=False, turns_left=s.turns_left - 1)
            yield "may", "it goes on as a new run (the next month)", on._replace(run=s.run + 1)
            yield "may", "it is rewound, and goes on with another amount", on._replace(run=s.run + 1, amount=20)
            yield "may", "it ends; after its retention the same id starts again", on._replace(uid=s.uid + 1, run=0)
            yield "fault", "a deploy sends another command under the same number", on._replace(amount=30)

    def ask(self, s: State) -> Iterator[Step]:
        key = self.key(s)
        stored = {amount for k, amount in s.inbox if k == key}
        if s.forgeries:
            yield "fault", f"somebody forges an answer to {key}", self.forged(s._replace(forgeries=0), key)
        if not stored:
            yield "must", f"{s.amount} under {key}: it runs", s._replace(asked=True, inbox=s.inbox | {(key, s.amount)})
        elif "body_hash" in self.rules and any(_conflict(amount, s.amount) for amount in stored):
            own = key == SagaIdentity("order-7", f"uid-{s.uid}", "subscription", 1, 0, s.run).key(0)
            alarm = "" if own else "a new request met the key of another one"
            yield "must", f"{s.amount} under {key}: conflict", s._replace(quarantined=True, alarm=alarm)
        else:
            alarm = "a request was answered with the answer to another one, and had no effect"
            yield "must", f"{s.amount} under {key}: answered from the inbox", s._replace(asked=True, alarm=alarm)

    def forged(self, s: State, key: str) -> State:
        guessed = nonce_of(b"a guess", key)
        if "nonce" in self.rules and not is_genuine(SECRET, key, guessed) and not is_genuine(SECRET, key, None):
            return s
        return s._replace(asked=True, alarm="an answer that somebody made up was believed")


@cache
def _conflict(stored: int, asked: int) -> bool:
    """The participant's own judgement."""
    type_ = _Charge.__wire_name__
    entry = replace(
        _entry(InboxRow("done", reply=True), late=False), body_hash=body_hash(type_, b"", _Charge(amount=stored))
    )
    request = SimpleNamespace(type=type_, body_hash=body_hash(type_, b"", _Charge(amount=asked)))
    return commands._conflicts(entry, request)  # type: ignore[arg-type]


SUBJECT = Subject("M6 identity", (IdentityMachine,), RULES)
