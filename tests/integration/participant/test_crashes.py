"""A participant is killed right before and right after each of its commits and calls; another one comes, and every
command ends with one effect and one answer that counts, every event and every dead letter is there once.

The places are `connection.Place`, the calls and the commit of offsets; a test holds the list to them.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import psutil
import pytest

from orchestrator.participant.connection import Place
from tests.deadlines import deadline, eventually
from tests.integration.participant.shop import ChargeCard, OrderPaid, ReserveStock

# A call that ran into its time on a busy machine would not reach the place after it.
PATIENT = {"timeout_s": 10.0, "longest_delay_s": 0.2}
BREAKER = PATIENT | {"breaker": ["gateway", 1, 0.3]}
EFFECTS = {"payments": "SELECT count(*) FROM charges", "stock": "SELECT count(*) FROM reservations"}


@dataclass
class Scene:
    """The servers, whoever is killed, and who comes after."""

    desk: object
    gateway: object
    processes: object

    def start(self, name, failpoints, **options):
        return self.processes.start(name, failpoints, **options)

    def killed(self, victim, place) -> None:
        assert victim.wait(deadline(30)) == -signal.SIGKILL
        assert place.partition("=")[0] in self.processes.reached

    def successor(self, name, **options) -> None:
        """Time goes by faster for the rows of the dead than for us."""
        self.desk.connection.execute("UPDATE amends.breakers SET trial_until = now() WHERE trial_until IS NOT NULL")
        self.desk.connection.execute(
            "UPDATE amends.inbox SET deadline = now(), due_at = now() WHERE deadline IS NOT NULL"
        )
        self.processes.started(name, **options)

    def settled(self, key, command):
        """As the orchestrator does: send again after each `retry`. Returns what the first success says."""
        seen, attempt = 0, 1
        while True:
            answer = self.desk.answer(key, "reply", seen + 1, seconds=40)
            seen += 1
            if answer.outcome == "succeeded":
                break
            assert answer.outcome == "retry", answer
            if answer.attempt == attempt:
                attempt += 1
                self.desk.command(key, command, attempt)
        assert {(a.outcome, a.payload) for a in self.desk.answers(key, "reply") if a.outcome != "retry"} == {
            ("succeeded", answer.payload)
        }
        return answer.value

    def undone(self, key, command, reply) -> None:
        seen, attempt = 0, 1
        while self.desk.answer(key, "undone", seen + 1, seconds=40).outcome != "undone":
            seen, attempt = seen + 1, attempt + 1
            self.desk.undo(key, command, "done", reply, attempt=attempt)
        assert {a.outcome for a in self.desk.answers(key, "undone")} <= {"undone", "retry"}

    def paid_once(self) -> None:
        assert (len(self.gateway.book), self.gateway.net()) == (1, 1)
        assert self.desk.one("SELECT count(*) FROM charges") == 1


@pytest.fixture
def scene(settings, desk, gateway, processes) -> Scene:
    return Scene(desk, gateway, processes)


def a_charge(scene: Scene, place: str) -> None:
    key, command = scene.desk.new_key(), ChargeCard(order_id="o1")
    victim = scene.start("payments", f"{place}=kill", **PATIENT)
    scene.desk.command(key, command)
    scene.killed(victim, place)
    scene.successor("payments", **PATIENT)
    scene.settled(key, command)
    scene.paid_once()


def a_refund(scene: Scene, place: str) -> None:
    key, command = scene.desk.new_key(), ChargeCard(order_id="o1")
    victim = scene.start("payments", f"{place}=kill@2", **PATIENT)
    scene.desk.command(key, command)
    reply = scene.settled(key, command)
    scene.desk.undo(key, command, "done", reply)
    scene.killed(victim, place)
    scene.successor("payments", **PATIENT)
    scene.undone(key, command, reply)
    assert [len(charge.refunds) for charge in scene.gateway.book] == [1]
    assert scene.desk.one("SELECT count(*) FROM charges WHERE refund_id IS NOT NULL") == 1


def a_reservation(scene: Scene, place: str) -> None:
    key, command = scene.desk.new_key(), ReserveStock(order_id="o1")
    victim = scene.start("stock", f"{place}=kill")
    scene.desk.command(key, command)
    scene.killed(victim, place)
    scene.successor("stock")
    scene.settled(key, command)
    assert scene.desk.one("SELECT available FROM stock WHERE item = 'book'") == 999


def a_release(scene: Scene, place: str) -> None:
    key, command = scene.desk.new_key(), ReserveStock(order_id="o1")
    victim = scene.start("stock", f"{place}=kill@2")
    scene.desk.command(key, command)
    reply = scene.settled(key, command)
    scene.desk.undo(key, command, "done", reply)
    scene.killed(victim, place)
    scene.successor("stock")
    scene.undone(key, command, reply)
    assert scene.desk.one("SELECT available FROM stock WHERE item = 'book'") == 1000
    assert scene.desk.one("SELECT count(*) FROM reservations") == 0


def a_scan(scene: Scene, place: str) -> None:
    """Of a row whose holder died; who scans it dies as well."""
    key, command = scene.desk.new_key(), ChargeCard(order_id="o1")
    first = scene.start("payments", "participant.call.after=kill", **PATIENT)
    scene.desk.command(key, command)
    scene.killed(first, "participant.call.after")
    scene.killed(scene.start("payments", f"{place}=kill", **PATIENT), place)
    scene.successor("payments", **PATIENT)
    scene.settled(key, command)
    scene.paid_once()


def a_purge(scene: Scene, place: str) -> None:
    key, command = scene.desk.new_key(), ReserveStock(order_id="o1")
    (first,) = scene.processes.started("stock")
    scene.desk.command(key, command)
    scene.settled(key, command)
    first.terminate()
    assert first.wait(deadline(30)) == 0
    scene.desk.connection.execute("UPDATE amends.inbox SET settled = true, expires_at = now()")
    scene.killed(scene.start("stock", f"{place}=kill"), place)
    assert scene.desk.state(key) == ("done" if place.endswith("before") else None)
    scene.successor("stock")
    scene.desk.until(key, None)
    assert scene.desk.one("SELECT available FROM stock WHERE item = 'book'") == 999


def an_opening(scene: Scene, place: str) -> None:
    """The first error opens the breaker, or declares it: nothing of it may stay behind for ever."""
    key, command = scene.desk.new_key(), ChargeCard(order_id="o1")
    scene.gateway.down = True
    victim = scene.start("payments", f"{place}=kill", **BREAKER)
    scene.desk.command(key, command)
    scene.killed(victim, place)
    scene.gateway.down = False
    scene.successor("payments", **BREAKER)
    scene.settled(key, command)
    scene.paid_once()


def a_trial(scene: Scene, place: str, stop: str = "", timeout_s: float = 10.0) -> None:
    key, command = scene.desk.new_key(), ChargeCard(order_id="o1")
    scene.gateway.down = True
    options = BREAKER | {"timeout_s": timeout_s}
    victim = scene.start("payments", f"{stop}{place}=kill", **options)
    scene.desk.command(key, command)
    eventually(lambda: scene.desk.one("SELECT count(*) FROM amends.breakers WHERE openings > 0"), 20, "it opens")
    scene.gateway.down = False
    attempt = 1
    while not _has_ended_or_stopped(victim):
        answers = scene.desk.answers(key, "reply")
        if len(answers) >= attempt:
            attempt += 1
            scene.desk.command(key, command, attempt)
        eventually(
            lambda n=attempt: len(scene.desk.answers(key, "reply")) >= n or _has_ended_or_stopped(victim),
            20,
            "an answer",
        )
    if stop:
        eventually(
            lambda: scene.desk.one("SELECT deadline < clock_timestamp() FROM amends.inbox"), 20, "its deadline passes"
        )
        os.kill(victim.pid, signal.SIGCONT)
    scene.killed(victim, place)
    scene.successor("payments", **BREAKER)
    scene.desk.command(key, command, attempt + 1)
    eventually(lambda: _succeeds(scene, key, command), 40, "the charge")
    scene.paid_once()


def a_trial_given_back(scene: Scene, place: str) -> None:
    """It is stopped before its call until its deadline has passed."""
    a_trial(scene, place, stop="participant.call.before=stop@2,", timeout_s=0.5)


def _has_ended_or_stopped(victim) -> bool:
    return victim.poll() is not None or psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED


def _succeeds(scene: Scene, key: str, command: ChargeCard) -> bool:
    answers = scene.desk.answers(key, "reply")
    if any(answer.outcome == "succeeded" for answer in answers):
        return True
    newest = max(answer.attempt for answer in answers)
    sent = scene.desk.one("SELECT coalesce(max(attempt), 0) FROM amends.inbox WHERE key = %s", key)
    if sent <= newest:
        scene.desk.command(key, command, newest + 1)
        eventually(lambda: len(scene.desk.answers(key, "reply")) > len(answers), 20, "the next answer")
    return False


def a_renewal(scene: Scene, place: str) -> None:
    """One call is out and another waits for its place when the process dies."""
    out, waits = scene.desk.new_key(), scene.desk.new_key()
    scene.gateway.script.append("hold_before")
    options = PATIENT | {"concurrency": 1}
    victim = scene.start("payments", f"{place}=kill", **options)
    scene.desk.command(out, ChargeCard(order_id=out))
    assert scene.gateway.held.wait(deadline(20))
    scene.desk.command(waits, ChargeCard(order_id=waits))
    scene.killed(victim, place)
    scene.gateway.release.set()
    eventually(lambda: scene.gateway.net(out) == 1, 10, "the first charge lands after its sender's death")
    scene.successor("payments", **options)
    for key in (out, waits):
        scene.settled(key, ChargeCard(order_id=key))
        assert scene.gateway.net(key) == 1
    assert len(scene.gateway.book) == scene.desk.one("SELECT count(*) FROM charges") == 2


def an_event_that_waits(scene: Scene, place: str) -> None:
    first = scene.start("stock", "participant.requests.after=kill")
    scene.desk.send(scene.desk.event_row(OrderPaid(order_id="o1", trouble="once")))
    scene.killed(first, "participant.requests.after")
    assert scene.desk.one("SELECT state FROM amends.inbox_events") == "waiting"
    scene.killed(scene.start("stock", f"{place}=kill"), place)
    scene.successor("stock")
    eventually(lambda: scene.desk.one("SELECT state = 'done' FROM amends.inbox_events"), 20, "it is handled")
    assert scene.desk.one("SELECT count(*) FROM seen") == 1


def an_event(scene: Scene, place: str) -> None:
    victim = scene.start("stock", f"{place}=kill")
    scene.desk.send(scene.desk.event_row(OrderPaid(order_id="o1")))
    scene.killed(victim, place)
    scene.successor("stock")
    eventually(lambda: scene.desk.one("SELECT count(*) FROM amends.inbox_events"), 20, "it is noted")
    assert scene.desk.one("SELECT count(*) FROM seen") == 1


def a_dead_letter(scene: Scene, place: str) -> None:
    """Its answer has nowhere to go."""
    key, after = scene.desk.new_key(), scene.desk.new_key()
    row = scene.desk.command_row(key, ReserveStock(order_id="lost"))
    victim = scene.start("stock", f"{place}=kill")
    scene.desk.send(replace(row, headers={**row.headers, "reply_to": "no.such.topic/0"}))
    scene.killed(victim, place)
    scene.successor("stock")
    scene.desk.send(replace(scene.desk.command_row(after, ReserveStock(order_id="next")), partition=row.partition))
    scene.settled(after, ReserveStock(order_id="next"))
    # Another saga's command does not wait for it, so its answer does not say that the letter is there.
    eventually(lambda: scene.desk.one("SELECT count(*) FROM amends.inbox_dead") == 1, 20, "one dead letter")
    assert scene.desk.one("SELECT available FROM stock WHERE item = 'book'") == 999


Scenario = Callable[[Scene, str], None]
CRASHES: list[tuple[Scenario, str]] = [
    (a_charge, "requests"),
    (a_charge, "call"),
    (a_charge, "ends"),
    (a_charge, "offsets"),
    (a_refund, "requests"),
    (a_refund, "call"),
    (a_refund, "ends"),
    (a_reservation, "requests"),
    (a_reservation, "offsets"),
    (a_release, "requests"),
    (a_scan, "scan"),
    (a_purge, "purge"),
    (an_opening, "breaker.declare"),
    (an_opening, "breaker.open"),
    (a_trial, "breaker.trial"),
    (a_trial, "breaker.close"),
    (a_trial_given_back, "breaker.release"),
    (a_renewal, "renew"),
    (an_event, "requests"),
    (an_event_that_waits, "claim"),
    (an_event_that_waits, "events"),
    (a_dead_letter, "dead"),
]
# One of each kind is quick enough for every run; `make test-all` runs them all.
QUICK = {
    ("a_charge", "ends", "before"),
    ("a_refund", "call", "after"),
    ("a_reservation", "requests", "after"),
    ("a_scan", "scan", "after"),
    ("an_opening", "breaker.open", "before"),
    ("an_event_that_waits", "claim", "after"),
}


def crashes():
    for scenario, place in CRASHES:
        for side in ("before", "after"):
            quick = (scenario.__name__, place, side) in QUICK
            marks = () if quick else (pytest.mark.slow,)
            yield pytest.param(
                scenario, f"participant.{place}.{side}", marks=marks, id=f"{scenario.__name__}-{place}.{side}"
            )


@pytest.mark.parametrize(("scenario", "place"), list(crashes()))
def test_a_kill_there_costs_nothing(scene, scenario, place):
    scenario(scene, place)


def test_every_place_has_its_crash():
    assert {place for _, place in CRASHES} == {*get_args(Place), "call", "offsets"}
    assert len(QUICK) == sum(1 for crash in crashes() if not crash.marks)
