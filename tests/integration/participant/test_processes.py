"""Processes die or are stopped inside a call; another takes over, and the book nets to what was answered."""

import os
import signal

import psutil
import pytest

from tests.deadlines import deadline, eventually
from tests.integration.participant.shop import ChargeCard

COMMAND = ChargeCard(order_id="o1")
FAST = {"timeout_s": 2.0, "longest_delay_s": 1.0}


def settle_command(desk, key, seconds=40):
    """As the orchestrator does: send again after each `retry`, until there is a success."""
    n = attempt = 1
    while (answer := desk.answer(key, "reply", n, seconds)).outcome == "retry":
        n, attempt = n + 1, attempt + 1
        desk.command(key, COMMAND, attempt)
    assert answer.outcome == "succeeded"
    return answer.value


def undo(desk, key, known, reply=None, seconds=40):
    desk.undo(key, COMMAND, known, reply)
    n = attempt = 1
    while desk.answer(key, "undone", n, seconds).outcome != "undone":
        n, attempt = n + 1, attempt + 1
        desk.undo(key, COMMAND, known, reply, attempt=attempt)


def kill_inside(desk, gateway, processes, key):
    """SIGKILL to whoever is inside the gateway's call, and another process comes."""
    (victim,) = processes.started("payments", **FAST)
    desk.command(key, COMMAND)
    assert gateway.held.wait(deadline(20))
    victim.kill()
    victim.wait()
    processes.started("payments", **FAST)


@pytest.mark.parametrize("effect", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_a_killed_call_is_looked_up_by_another_process(settings, desk, gateway, processes, effect):
    gateway.script.append(f"hold_{effect}")
    key = desk.new_key()
    kill_inside(desk, gateway, processes, key)
    assert desk.answers(key) == []
    gateway.release.set()  # before: the request was on its way, and lands after its sender's death
    reply = settle_command(desk, key)
    assert (len(gateway.book), gateway.net()) == (1, 1)
    undo(desk, key, "done", reply)
    assert gateway.net() == 0
    assert desk.one("SELECT count(*) FROM charges WHERE refund_id IS NOT NULL") == 1


def test_an_undo_meets_a_killed_call_whose_request_never_lands(settings, desk, gateway, processes):
    gateway.script.append("hold_before")
    key = desk.new_key()
    kill_inside(desk, gateway, processes, key)
    undo(desk, key, "unknown")
    assert (len(gateway.book), gateway.count("refund")) == (0, 0)
    assert desk.state(key) == "undone"


@pytest.mark.parametrize("effect", [pytest.param("before", marks=pytest.mark.slow), "after"])
def test_a_killed_undo_is_repeated_under_its_key(settings, desk, gateway, processes, effect):
    key = desk.new_key()
    (victim,) = processes.started("payments", **FAST)
    desk.command(key, COMMAND)
    reply = desk.answer(key).value
    gateway.refund_script.append(f"hold_{effect}")
    desk.undo(key, COMMAND, "done", reply)
    assert gateway.held.wait(deadline(20))
    victim.kill()
    processes.started("payments", **FAST)
    gateway.release.set()
    assert desk.answer(key, "undone", seconds=40).outcome == "undone"
    assert [len(c.refunds) for c in gateway.book] == [1]
    assert gateway.count("refund", f"{key}:undo") == 2


@pytest.mark.parametrize("effect", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_a_stopped_call_wakes_after_its_undo(settings, desk, make_gateway, processes, effect):
    gateway = make_gateway(honours_keys=False)
    gateway.script.append(f"hold_{effect}")
    key = desk.new_key()
    (sleeper,) = processes.started("payments", **FAST)
    desk.command(key, COMMAND)
    assert gateway.held.wait(deadline(20))
    os.kill(sleeper.pid, signal.SIGSTOP)
    processes.started("payments", **FAST)
    undo(desk, key, "unknown")
    assert gateway.net() == 0
    os.kill(sleeper.pid, signal.SIGCONT)
    gateway.release.set()
    if effect == "before":
        eventually(
            lambda: gateway.book and gateway.net() == 0, 20, f"the late charge is taken back; inbox {desk.state(key)}"
        )
    eventually(lambda: not desk.one("SELECT count(*) FROM amends.inbox WHERE due_at IS NOT NULL"), 20, "nothing is due")
    assert (len(gateway.book), gateway.net(), desk.state(key)) == (1, 0, "undone")


def test_who_is_stopped_before_the_call_does_not_call_when_he_wakes(settings, desk, make_gateway, processes):
    gateway = make_gateway(honours_keys=False)
    key = desk.new_key()
    (sleeper,) = processes.started(
        "payments", failpoints="participant.call.before=stop", timeout_s=0.5, longest_delay_s=0.2
    )
    desk.command(key, COMMAND)
    eventually(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED, 20, "it stops before its call")
    assert desk.state(key) == "running"
    processes.started("payments", timeout_s=0.5, longest_delay_s=0.2)
    undo(desk, key, "unknown")  # Not before the sleeper's deadline: somebody might be outside.
    os.kill(sleeper.pid, signal.SIGCONT)
    sleeper.terminate()
    assert sleeper.wait(deadline(30)) == 0
    assert gateway.count("charge", key) == 0
    assert desk.state(key) == "undone"


def test_a_graceful_stop_ends_what_is_out_and_hands_over(settings, desk, gateway, processes):
    gateway.script.append("slow")
    gateway.slow_s = 1.0
    key, after = desk.new_key(), desk.new_key()
    (leaving,) = processes.started("payments", **FAST)
    desk.command(key, COMMAND)
    eventually(lambda: gateway.count("charge"), 10, "the call is out")
    leaving.terminate()
    assert leaving.wait(deadline(30)) == 0
    assert desk.answers(key)[0].outcome == "succeeded"
    processes.started("payments", **FAST)
    desk.command(after, ChargeCard(order_id="o2"))
    assert desk.answer(after).outcome == "succeeded"
    assert gateway.count("lookup") == 0
