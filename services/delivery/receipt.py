"""One receipt as a PDF. Pure: bytes out of what is known about the payment."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from fpdf import FPDF
from fpdf.enums import XPos, YPos

FONT = "Helvetica"
TITLE_POINTS, TEXT_POINTS = 20, 12
LINE_MM = 9


@dataclass(frozen=True, slots=True)
class Paid:
    """What a receipt says."""

    order_id: str
    customer: str
    total: Decimal
    paid_at: datetime


def pdf(paid: Paid) -> bytes:
    """The receipt. The same payment gives the same bytes, so a second one made by mistake differs in nothing."""
    page, paid_at = FPDF(format="A4"), paid.paid_at.astimezone(UTC)
    page.set_creation_date(paid_at)
    page.set_title(f"Receipt {paid.order_id}")
    page.add_page()
    page.set_font(FONT, "B", TITLE_POINTS)
    page.cell(text="Receipt", h=2 * LINE_MM, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.set_font(FONT, size=TEXT_POINTS)
    for line in (
        f"Order: {paid.order_id}",
        f"Customer: {paid.customer}",
        f"Paid: {paid_at:%Y-%m-%d %H:%M} UTC",
        f"Total: RM {paid.total:.2f}",
    ):
        page.multi_cell(w=0, h=LINE_MM, text=printable(line), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    return bytes(page.output())


def printable(text: str) -> str:
    """What PDF's built-in fonts can show: a name in other letters gets a `?` for each, rather than no receipt."""
    return text.encode("latin-1", "replace").decode("latin-1")
