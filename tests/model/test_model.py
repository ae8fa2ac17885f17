"""The machines hold, and miss no rule that is taken away. `python -m tests.model -v` tells the stories.

Those under some seconds run with every `make test`; the others, with two faults, in `make test-all`.
"""

import pytest

from tests.model import fence, identity, outcome, relay, timers, wipe
from tests.model.rules import Subject, examine, hold

QUICK = (fence.SUBJECT, identity.SUBJECT, wipe.SUBJECT)
SLOW = (outcome.SUBJECT, relay.SUBJECT, timers.SUBJECT)


def name(subject: Subject) -> str:
    return subject.name


@pytest.mark.parametrize("subject", QUICK, ids=name)
def test_it_holds_and_every_rule_is_needed(subject: Subject) -> None:
    assert examine(subject).surprises == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("subject", SLOW, ids=name)
def test_it_holds_and_every_rule_is_needed_slow(subject: Subject) -> None:
    assert examine(subject).surprises == []


def test_one_commands_outcome_holds_with_one_fault_and_one_kind_of_gateway() -> None:
    """M2 runs the participant's own code: this much of it with every change."""
    assert [problem for _, verdict in hold(outcome.QUICK) if (problem := verdict.problem)] == []
