"""Steps whose arguments, undo or result are not their function's."""

from access import assign_role, provision
from contracts import Order
from checkout import render_invoice
from orchestrator import Retry, Saga


async def unassign(user: str) -> None: ...


async def delete_invoice(order_id: int) -> None: ...


async def wrong(s: Saga, order: Order) -> None:
    await s.step(provision, "ada")  # error
    await s.step(provision, "ada", 7)  # error
    await s.step(provision, "ada", "admin", undo=unassign)  # error
    await s.step(render_invoice, order, undo=delete_invoice)  # error
    await s.step(assign_role, "ada", "admin")  # error
    await s.transaction(provision, "ada", "admin")  # error
    pages: int = await s.step(render_invoice, order)  # error
    await s.step(render_invoice, order, retry=3)  # error
    Retry(attempts=3)  # error
    if s.random() < 0.5:  # error
        print(pages)
