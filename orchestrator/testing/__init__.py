"""No servers, no waiting: sagas in memory, in virtual time. Also a pytest plugin: the fixture is `sim`.

Every turn is replayed from the journal and compared, so that a saga that can't be replayed fails its first test.
"""

from orchestrator.testing.fakes import Fake
from orchestrator.testing.simulated_saga import SimulatedSaga
from orchestrator.testing.simulation import Simulation

__all__ = ["Fake", "SimulatedSaga", "Simulation"]
