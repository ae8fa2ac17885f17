"""The fixture `sim`."""

from collections.abc import Iterator

import pytest

from orchestrator.testing.simulation import Simulation


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """A simulation of the test's own."""
    simulation = Simulation()
    yield simulation
    simulation.close()
