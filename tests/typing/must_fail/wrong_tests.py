"""Fakes that could not be the participant."""

from checkout import checkout
from contracts import Charged, Order, PrintLabel, Reserved, ReserveStock
from orchestrator.testing import Simulation


def wrong(sim: Simulation, order: Order) -> None:
    sim.fake(ReserveStock).answer(Charged(charge_id="c"))  # error
    sim.fake(ReserveStock).answer(lambda cmd: Reserved(reservation=cmd.amount))  # error
    sim.fake(Order)  # error
    sim.fake(PrintLabel).silence()
    print(sim.start(checkout, order).result.total)  # error
    sim.start(checkout, 7)  # error
