"""A3, MONEY: the second run's charge got the first run's key, and the inbox answered with the first month's reply.

Generated sagas, with lost and doubled answers, crashes and a cancel, in several lives under one id: whatever leaves
under a key is always the same request.
"""

import json
from collections import defaultdict
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.decisions import SendCommand, SendUndo, StartStep
from orchestrator.core.ids import SagaIdentity
from tests.unit.core import test_properties as generated
from tests.unit.core.programs import Program, World

LIVES = [SagaIdentity("order-1", f"uid-{life}", "interpret", 1, 0, run=run) for life in (1, 2) for run in (0, 1)]


class Listener(World):
    """Notes what leaves."""

    def take(self, queue):
        one = super().take(queue)
        if isinstance(one, SendCommand | SendUndo):  # an undo goes under its command's key, and brings the command
            self.left.append((one.seq, [one.type, one.body]))
        return one

    def run_step(self):
        for step in self.steps:
            asked: StartStep = step
            if asked.undo_of is None:
                self.left.append((asked.seq, [asked.name, list(asked.args)]))
        super().run_step()

    def feed(self, entry):
        self.left = getattr(self, "left", [])
        super().feed(entry)


@settings(generated.SETTINGS, max_examples=generated.EXAMPLES // 3)
@given(data=st.data(), program=generated.programs(timed=True), seed=st.integers(0, 2**32))
def test_no_two_requests_leave_under_one_key(data: st.DataObject, program: Program, seed: int) -> None:
    requests, lives_of = defaultdict(set), defaultdict(set)
    for identity in LIVES:
        world = Listener(program, generated.behaviours(data.draw, program), Random(seed))
        try:
            world.run(cancel_at=data.draw(st.none() | st.integers(0, 30)), crash_share=0.15)
        finally:
            world.live.evict()
        for seq, request in world.left:
            requests[identity.key(seq)].add(json.dumps(request))
            lives_of[identity.key(seq)].add(identity)
    assert all(len(asked) == 1 for asked in requests.values()), requests
    assert all(len(lives) == 1 for lives in lives_of.values()), lives_of
