"""Handlers that do not fit their command, or their kind."""

from contracts import ChargeCard, Charged, OrderPaid, PrintLabel, Label, Reserved, ReserveStock
from orchestrator import Handling, Participant, Transaction
from payments import Deps, payments

stock = Participant("stock")


@stock.handles(ReserveStock)  # error
async def wrong_reply(cmd: ReserveStock, tx: Transaction) -> Charged:
    return Charged(charge_id="c")


@stock.handles(ReserveStock)  # error
async def wrong_command(cmd: ChargeCard, tx: Transaction) -> Reserved:
    return Reserved(reservation="r")


@stock.handles(ReserveStock)  # error
async def forgot_the_context(cmd: ReserveStock) -> Reserved:
    return Reserved(reservation="r")


@stock.handles(ReserveStock)  # error
def not_async(cmd: ReserveStock, tx: Transaction) -> Reserved:
    return Reserved(reservation="r")


@stock.handles(OrderPaid)  # error
async def an_event_is_not_handled(cmd: OrderPaid, tx: Transaction) -> None: ...


@stock.handles(ReserveStock)
async def reserve(cmd: ReserveStock, tx: Transaction) -> Reserved:
    return Reserved(reservation="r")


@reserve.undo  # error
async def wrong_undo(cmd: ReserveStock, reserved: Charged, tx: Transaction) -> None: ...


@payments.handles(ChargeCard, effect="external")  # error
async def a_transaction_while_calling_out(cmd: ChargeCard, tx: Transaction[Deps]) -> Charged:
    return Charged(charge_id="c")


@payments.handles(ChargeCard, effect="external")
async def charge(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged:
    await ctx.connection.execute("SELECT 1")  # error
    await ctx.deps.gatway.get("/")  # error
    return Charged(charge_id="c")


@charge.undo  # error
async def without_a_lookup_it_may_be_unknown(cmd: ChargeCard, charged: Charged, ctx: Handling[Deps]) -> None: ...


async def find(cmd: ChargeCard, ctx: Handling[Deps]) -> Reserved | None: ...


@payments.handles(ChargeCard, effect="external", lookup=find)  # error
async def wrong_lookup(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged:
    return Charged(charge_id="c")


@payments.handles(PrintLabel, breaker="gateway")  # error
async def local_has_no_breaker(cmd: PrintLabel, tx: Transaction[Deps]) -> Label:
    return Label(tracking="t")
