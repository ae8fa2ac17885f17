"""External handlers: every history ends with the gateway's book in agreement with what was answered."""

import asyncio
from itertools import pairwise

import pytest

from orchestrator import limits
from orchestrator.participant import inbox as inbox_table
from orchestrator.participant.connection import Lane
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import ChargeCard, make_payments

COMMAND = ChargeCard(order_id="o1")
PATIENT = {"timeout_s": 30.0}  # Where no call is to run into its time: a busy machine must not make one do so.
OLD_S = limits.INBOX_HORIZON_S + 86_400.0


@pytest.fixture
def key(inbox):
    return inbox.new_key()


async def test_the_same_key_with_another_body_is_a_conflict_and_changes_nothing(inbox, inbox_url, gateway, key):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        await aside(inbox.answer, key)
        await bench.handle(inbox.command_row(key, ChargeCard(order_id="o1", amount=46), 2))
        conflict = await aside(inbox.answer, key, n=2)
        assert (conflict.outcome, conflict.attempt, conflict.problem.type) == ("conflict", 2, "KeyConflict")
        await bench.handle(inbox.undo_row(key, ChargeCard(order_id="o2"), "unknown"))
        assert (await aside(inbox.answer, key, "undone")).outcome == "failed"
    assert inbox.state(key) == "done"
    assert gateway.net() == 1


async def test_a_repeated_command_is_answered_from_the_inbox(inbox, inbox_url, gateway, key):
    row = inbox.command_row(key, COMMAND)
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(row, row, row)
        await aside(inbox.answer, key)
        await bench.handle(row, inbox.command_row(key, COMMAND, 2))
        await aside(inbox.answer, key, n=3)
    assert [(a.outcome, a.attempt) for a in inbox.answers()] == [("succeeded", 1), ("succeeded", 1), ("succeeded", 2)]
    assert gateway.count("charge") == 1


async def test_an_expired_command_is_not_begun_and_never_will_be(inbox, inbox_url, gateway, key):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND, expires_in_s=-1))
        await bench.handle(inbox.command_row(key, COMMAND, 2))
    first, second = inbox.answers()
    assert (first.outcome, first.problem.type, first.problem.effect) == ("failed", "Expired", "none")
    assert (second.outcome, second.attempt, second.problem.type) == ("failed", 2, "Expired")
    assert gateway.count("charge") == 0


async def test_an_undo_that_comes_first_leaves_a_tombstone(inbox, inbox_url, gateway, key):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown"))
        await bench.handle(inbox.command_row(key, COMMAND))
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown", attempt=2))
    undone, refused, again = inbox.answers()
    assert (undone.kind, undone.outcome) == ("undone", "undone")
    assert (refused.kind, refused.outcome, refused.problem.type, refused.problem.effect) == (
        *("reply", "failed", "Refused", "none"),
    )
    assert (again.outcome, again.attempt) == ("undone", 2)
    assert inbox.state(key) == "refused"
    assert gateway.calls == []


@pytest.mark.parametrize("late_copy", [False, True])
@pytest.mark.parametrize("known", ["done", "unknown"])
async def test_a_purge_between_do_and_undo_nets_to_zero(inbox, inbox_url, gateway, key, known, late_copy):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        answer = await aside(inbox.answer, key)
        inbox.connection.execute("UPDATE amends.inbox SET created_at = now() - interval '40 days'")
        lane = Lane(inbox_url, "test")
        async with lane.transaction() as connection:
            await inbox_table.purge(connection, 10)
        assert inbox.state(key) is None  # by us, or by the process itself, which purges as well
        await lane.close()
        if late_copy:
            await bench.handle(inbox.command_row(key, COMMAND, expires_in_s=-1), age_s=OLD_S)
            assert inbox.answers(key)[-1].problem.effect == "unknown"
        reply = answer.value if known == "done" else None
        await bench.handle(inbox.undo_row(key, COMMAND, known, reply, age_s=OLD_S))
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
    assert gateway.net() == 0
    assert inbox.one("SELECT count(*) FROM charges WHERE refund_id IS NULL") == 0


async def test_a_late_copy_of_an_undo_is_not_begun(inbox, inbox_url, gateway, key):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.undo_row(key, COMMAND, "done", {"charge_id": "ch-1"}, expires_in_s=-1))
    assert inbox.answers() == []
    assert inbox.state(key) is None
    assert gateway.calls == []


async def test_a_definite_no_is_final_and_needs_no_undo(inbox, inbox_url, gateway, key):
    gateway.script.append("declined")
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        declined = await aside(inbox.answer, key)
        assert (declined.outcome, declined.type, declined.problem.effect) == ("failed", "CardDeclined", "none")
        assert declined.problem.fields == {"reason": "no funds"}
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown"))
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
    assert [what for what, _, _ in gateway.calls] == ["charge"]


async def test_a_no_after_a_lost_attempt_is_in_doubt_and_undone(inbox, inbox_url, make_gateway, key):
    """RM 45: the first answer is lost, the second attempt is declined, and the money is gone all the same."""
    gateway = make_gateway(honours_keys=False)
    gateway.script.extend(("lost", "declined"))
    async with benched(make_payments(lookup=False, **PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        lost = await aside(inbox.answer, key)
        assert (lost.outcome, lost.problem.effect, lost.problem.retry_after_s) == ("retry", "unknown", None)
        await bench.handle(inbox.command_row(key, COMMAND, 2))
        failed = await aside(inbox.answer, key, n=2)
        assert (failed.outcome, failed.type, failed.problem.effect) == ("failed", "CardDeclined", "unknown")
        assert gateway.net() == 1
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown"))
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
        assert gateway.net() == 0


async def test_a_lost_answer_is_looked_up_at_once(inbox, inbox_url, gateway, key):
    gateway.script.append("lost")
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        answer = await aside(inbox.answer, key)
    assert (answer.outcome, answer.value) == ("succeeded", {"charge_id": "ch-1"})
    assert [what for what, _, _ in gateway.calls] == ["charge", "lookup"]
    assert inbox.one("SELECT charge_id FROM charges") == "ch-1"


async def test_a_lookups_no_counts_only_after_the_longest_delay(inbox, inbox_url, make_gateway, key):
    gateway = make_gateway(honours_keys=False)
    gateway.script.append("broken")
    async with benched(make_payments(longest_delay_s=1.5, **PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        assert (await aside(inbox.answer, key)).problem.effect == "unknown"
        await bench.handle(inbox.command_row(key, COMMAND, 2))
        early = await aside(inbox.answer, key, n=2)
        assert (early.outcome, early.problem.type, early.problem.effect) == ("retry", "TooEarly", "unknown")
        assert 0 < early.problem.retry_after_s <= 1.7
        await asyncio.sleep(early.problem.retry_after_s)
        await bench.handle(inbox.command_row(key, COMMAND, 3))
        assert (await aside(inbox.answer, key, n=3)).outcome == "succeeded"
    assert gateway.net() == 1


async def test_a_pause_of_the_gateway_is_passed_on_and_burns_no_attempt(inbox, inbox_url, gateway, key):
    gateway.script.append("slow_down")
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        pause = await aside(inbox.answer, key)
        assert (pause.outcome, pause.problem.retry_after_s, pause.problem.effect) == ("retry", 0.7, "none")
        await bench.handle(inbox.command_row(key, COMMAND))
        assert (await aside(inbox.answer, key, n=2)).outcome == "succeeded"


async def test_a_call_over_its_time_is_unknown(inbox, inbox_url, gateway, key):
    gateway.slow_s = 1.5
    gateway.script.append("slow")
    async with benched(make_payments(timeout_s=0.5), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        answer = await aside(inbox.answer, key)
        assert (answer.outcome, answer.problem.type, answer.problem.effect) == ("retry", "TimeoutError", "unknown")


async def test_an_undo_waits_for_the_call_that_is_out(inbox, inbox_url, gateway, key):
    gateway.script.append("hold_before")
    async with benched(make_payments(timeout_s=10), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        await aside(gateway.held.wait, 10)
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown"))
        assert inbox.answers() == []
        gateway.release.set()
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
    assert (len(gateway.book), gateway.net()) == (1, 0)
    assert inbox.one("SELECT refund_id FROM charges") == f"re-{key}:undo"


async def test_what_cannot_be_recorded_is_undone_with_its_reply(inbox, inbox_url, gateway, key, monkeypatch):
    from orchestrator.participant import work

    monkeypatch.setattr(work, "RECORD_PAUSE_S", 0.05)
    command = ChargeCard(order_id="o1", record_trouble="no such table")
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, command))
        failed = await aside(inbox.answer, key)
        assert (failed.outcome, failed.problem.text, failed.problem.effect) == ("failed", "no such table", "unknown")
        await bench.handle(inbox.undo_row(key, command, "unknown"))
        answer = await aside(inbox.answer, key, "undone")
    assert answer.outcome == "failed"  # `record` can't run for the undo either: people have to look
    assert gateway.net() == 0


async def test_an_undo_whose_answer_is_lost_is_repeated_under_its_key(inbox, inbox_url, gateway, key):
    gateway.refund_script.append("lost")
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        reply = (await aside(inbox.answer, key)).value
        await bench.handle(inbox.undo_row(key, COMMAND, "done", reply))
        lost = await aside(inbox.answer, key, "undone")
        assert (lost.outcome, inbox.state(key)) == ("retry", "undoing")
        await bench.handle(inbox.command_row(key, COMMAND, 2))
        refused = await aside(inbox.answer, key, "reply", 2)
        assert (refused.outcome, refused.problem.effect) == ("failed", "unknown")
        await bench.handle(inbox.undo_row(key, COMMAND, "done", reply, attempt=2))
        undone = await aside(inbox.answer, key, "undone", 2)
        assert (undone.outcome, undone.attempt) == ("undone", 2)
    assert gateway.count("refund", f"{key}:undo") == 2
    assert [len(c.refunds) for c in gateway.book] == [1]


async def test_a_refused_undo_waits_for_people(inbox, inbox_url, gateway, key):
    payments = make_payments(**PATIENT)
    from orchestrator.errors import Failure

    class TooLate(Failure):
        pass

    undo = payments.handlers["ChargeCard"].undo_handler
    refund, refusals = undo.function, ["no"]

    async def refuse_once(*args):
        if refusals:
            refusals.pop()
            raise TooLate
        return await refund(*args)

    undo.function = refuse_once
    async with benched(payments, inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        reply = (await aside(inbox.answer, key)).value
        await bench.handle(inbox.undo_row(key, COMMAND, "done", reply))
        refused = await aside(inbox.answer, key, "undone")
        assert (refused.outcome, refused.problem.type) == ("failed", "TooLate")
        assert inbox.one("SELECT due_at IS NULL FROM amends.inbox")
        await bench.handle(inbox.undo_row(key, COMMAND, "done", reply, attempt=2))
        assert (await aside(inbox.answer, key, "undone", 2)).outcome == "undone"
    assert gateway.net() == 0


@pytest.mark.parametrize("first", ["lost", "declined"])
async def test_a_pinning_contract_repeats_the_call_before_it_undoes_in_doubt(inbox, inbox_url, gateway, key, first):
    gateway.script.append("hold_before")
    async with benched(make_payments(timeout_s=0.5, lookup=False, pin=True), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        assert (await aside(inbox.answer, key)).problem.effect == "unknown"
        if first == "declined":
            gateway.answers[key] = (402, b"no funds")
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown"))
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
        gateway.release.set()  # the first request lands at last, and gets the pinned answer
        await asyncio.sleep(0.1)
    assert gateway.net() == 0
    assert gateway.count("charge") == 2
    assert gateway.count("refund") == (1 if first == "lost" else 0)
    assert not inbox.one("SELECT recheck FROM amends.inbox")


async def test_a_request_that_lands_after_the_undo_is_found_by_the_second_lookup(inbox, inbox_url, make_gateway, key):
    gateway = make_gateway(honours_keys=False)
    gateway.script.append("hold_before")
    async with benched(make_payments(timeout_s=0.5, longest_delay_s=1.0), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        assert (await aside(inbox.answer, key)).problem.effect == "unknown"
        await bench.handle(inbox.undo_row(key, COMMAND, "unknown"))
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
        assert gateway.count("refund") == 0
        assert inbox.one("SELECT recheck FROM amends.inbox")
        gateway.release.set()
        await aside(inbox.answer, key, "undone", 2)
        assert (len(gateway.book), gateway.net()) == (1, 0)
        assert inbox.one("SELECT refund_id FROM charges") == f"re-{key}:undo"
        assert not inbox.one("SELECT recheck FROM amends.inbox")


async def test_calls_wait_for_a_place_without_losing_their_rows(inbox, inbox_url, gateway):
    gateway.delay_s = 1.0
    keys = [inbox.new_key() for _ in range(8)]
    async with benched(make_payments(timeout_s=1.5, concurrency=1), inbox_url) as bench:
        await bench.handle_all([inbox.command_row(k, ChargeCard(order_id=k)) for k in keys])
        for key in keys:
            assert (await aside(inbox.answer, key, seconds=30)).outcome == "succeeded"
    starts = sorted(when for what, _, when in gateway.calls if what == "charge")
    assert all(b - a >= 0.95 for a, b in pairwise(starts))
    assert gateway.count("lookup") == 0
    assert gateway.net() == 8


async def test_rows_are_purged_when_settled_and_expired_not_before(inbox, inbox_url, gateway, key):
    lane = Lane(inbox_url, "test")

    async def purged() -> int:
        async with lane.transaction() as connection:
            return await inbox_table.purge(connection, 10)

    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, COMMAND))
        await aside(inbox.answer, key)
        assert await purged() == 0
        await bench.handle(inbox.settled_row("payments", key))
        assert await purged() == 0
        inbox.connection.execute("UPDATE amends.inbox SET expires_at = now() - interval '1 s'")
        assert await purged() == 1
    await lane.close()


async def test_a_command_of_an_unknown_type_is_to_be_sent_again(inbox, inbox_url, gateway, key):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        envelope = bench.envelope(inbox.command_row(key, COMMAND))
        await bench.process.handle([envelope._replace(type="NotYetDeployed")])
    answer = inbox.answers()[0]
    assert (answer.outcome, answer.problem.type, answer.problem.effect) == ("retry", "NoHandler", "none")
    assert inbox.state(key) is None


async def test_a_damaged_command_is_refused_for_good_and_garbage_is_kept_aside(inbox, inbox_url, gateway, key):
    async with benched(make_payments(**PATIENT), inbox_url) as bench:
        envelope = bench.envelope(inbox.command_row(key, COMMAND))
        await bench.process.handle(
            [envelope._replace(payload=envelope.payload[:-3]), envelope._replace(offset=77, operation_key=None)]
        )
    answer = inbox.answers()[0]
    assert (answer.outcome, answer.problem.type, answer.problem.effect) == ("failed", "Undecodable", "none")
    assert inbox.one('SELECT "offset" FROM amends.inbox_dead') == 77


async def test_who_is_stopped_hands_back_what_he_has_not_begun(inbox, inbox_url, gateway):
    gateway.delay_s = 1.0
    keys = [inbox.new_key() for _ in range(3)]
    async with benched(make_payments(timeout_s=5, concurrency=1), inbox_url) as bench:
        await bench.handle_all([inbox.command_row(k, ChargeCard(order_id=k)) for k in keys])
        await aside(lambda: [gateway.held.wait(0.05) for _ in range(100) if not gateway.count("charge")])
    outcomes = [inbox.answers(key)[0] for key in keys]
    assert sorted(a.outcome for a in outcomes) == ["retry", "retry", "succeeded"]
    assert {a.problem.type for a in outcomes if a.outcome == "retry"} == {"Leaving"}
    assert gateway.net() == 1
