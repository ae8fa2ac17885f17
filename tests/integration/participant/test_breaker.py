"""The breaker, shared by four processes: it opens for all, lets one trial through, and burns no attempt."""

import time
from collections import defaultdict

import pytest

from tests.deadlines import deadline
from tests.integration.participant.desk import Answer
from tests.integration.participant.shop import ChargeCard

CHARGES = 200
RESET_S = 2.0


class Orchestrator:
    """Sends each command again when its `retry` says so, with a rising number, and counts what burnt."""

    def __init__(self, desk, commands: dict[str, ChargeCard]) -> None:
        self.desk, self.commands = desk, commands
        self.attempt = dict.fromkeys(commands, 1)
        self.burnt = defaultdict(int)
        self.parked: set[str] = set()
        self.done: dict[str, Answer] = {}
        self.due: dict[str, float] = {}
        self.seen: set[int] = set()
        desk.send(*(desk.command_row(key, command) for key, command in commands.items()))

    def step(self) -> None:
        rows = self.desk.connection.execute(
            "SELECT seq, kind, operation_key, attempt, outcome, type, payload, nonce FROM amends.outbox "
            "WHERE seq <> ALL(%s) AND kind = 'reply' ORDER BY seq",
            (list(self.seen),),  # a floor would miss rows that commit out of order
        ).fetchall()
        for seq, *values in rows:
            self.seen.add(seq)
            answer = Answer(*values)
            if answer.outcome == "succeeded":
                self.done[answer.key] = answer
                self.due.pop(answer.key, None)
            elif answer.outcome == "retry" and answer.attempt == self.attempt[answer.key]:
                pause_s = answer.problem.retry_after_s
                if answer.type == "BreakerOpen":
                    self.parked.add(answer.key)
                if pause_s is None:
                    self.burnt[answer.key] += 1
                self.due[answer.key] = time.monotonic() + (0.3 if pause_s is None else pause_s)
            else:
                assert answer.outcome == "retry", answer
        ready = [key for key, at in self.due.items() if at <= time.monotonic()]
        for key in ready:
            del self.due[key]
            self.attempt[key] += 1
        self.desk.send(*(self.desk.command_row(key, self.commands[key], self.attempt[key]) for key in ready))

    def open(self) -> list[object]:
        """For the message of a failure: what is not done, and where it stands."""
        return [
            (self.attempt[key], self.due.get(key), self.desk.answers(key)[-1:], self.desk.connection.execute(
                "SELECT state, attempt, run, deadline - now(), due_at - now(), problem_text FROM amends.inbox "
                "WHERE key = %s", (key,)).fetchall())
            for key in self.commands if key not in self.done
        ][:5]  # fmt: skip

    def until(self, is_so, seconds: float, what: str) -> None:
        end = time.monotonic() + deadline(seconds)
        while not is_so():
            assert time.monotonic() < end, (
                f"{what}: {len(self.done)} done, {len(self.parked)} were parked; {self.open()}"
            )
            self.step()
            time.sleep(0.02)


CLOSINGS = """
    CREATE TABLE closings (at float8);
    CREATE FUNCTION note_closing() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO closings VALUES (extract(epoch FROM clock_timestamp())); RETURN NEW; END $$;
    CREATE TRIGGER closing AFTER UPDATE ON amends.breakers FOR EACH ROW
        WHEN (OLD.state = 'open' AND NEW.state = 'closed') EXECUTE FUNCTION note_closing();
"""


@pytest.mark.slow  # It failed once in three runs: five trial calls. A race in the product, to be found.
def test_after_an_outage_at_most_two_trial_calls_reach_the_gateway(settings, desk, gateway, processes):
    gateway.down = True
    processes.started("payments", n=4, timeout_s=5, longest_delay_s=0.2, concurrency=5, breaker=["gateway", 3, RESET_S])
    commands = {key: ChargeCard(order_id=key) for key in (desk.new_key() for _ in range(CHARGES))}
    orchestrator = Orchestrator(desk, commands)
    orchestrator.until(lambda: len(orchestrator.parked) >= CHARGES * 0.9, 60, "parked while the gateway is down")
    assert desk.one("SELECT state FROM amends.breakers") == "open"
    assert gateway.calls == []  # the book has nothing of the outage

    desk.connection.execute(CLOSINGS)
    gateway.delay_s = 0.5
    gateway.down = False
    orchestrator.until(lambda: len(orchestrator.done) == CHARGES, 90, "charged after the outage")
    closed_at = desk.one("SELECT min(at) FROM closings")
    trials = [call for call in gateway.calls if call[2] < closed_at]
    assert 1 <= len(trials) <= 2, trials
    assert desk.one("SELECT state FROM amends.breakers") == "closed"
    assert (len(gateway.book), gateway.net()) == (CHARGES, CHARGES)
    assert max(orchestrator.burnt.values(), default=0) <= 5
    untouched = [key for key in commands if not orchestrator.burnt[key]]
    assert len(untouched) >= CHARGES * 0.6, "most charges waited without an attempt"
    wakes = sorted(orchestrator.attempt.values())
    assert wakes[-1] <= 60
