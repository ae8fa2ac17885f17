"""One handler with a protection or without it: what an experiment switches is an argument that may be None."""

from contracts import Label, PrintLabel
from orchestrator import Breaker, Handling, Participant


async def find_label(cmd: PrintLabel, ctx: Handling) -> Label | None:
    return Label(tracking=cmd.order_id)


def printing(*, asks_first: bool, breaker: Breaker | None) -> Participant:
    """A participant of its own for each combination."""
    shipping = Participant("shipping")

    @shipping.handles(
        PrintLabel, effect="external", lookup=find_label if asks_first else None, breaker=breaker, timeout_s=5
    )
    async def print_label(cmd: PrintLabel, ctx: Handling) -> Label:
        return Label(tracking=f"{cmd.order_id} {ctx.attempt}")

    @print_label.record
    async def note(cmd: PrintLabel, label: Label, ctx: Handling) -> None:
        ctx.log.info("printed %s", label.tracking)

    return shipping
