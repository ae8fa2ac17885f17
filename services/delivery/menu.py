"""The menu, and the data that makes something go wrong, as a provider gives test cards to its customers."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from services.contracts import Item

PRICES: Mapping[str, Decimal] = {
    "nasi lemak": Decimal("12.00"),
    "roti canai": Decimal("4.50"),
    "curry laksa": Decimal("15.00"),
    "satay": Decimal("18.00"),
    "teh tarik": Decimal("3.50"),
    "durian cendol": Decimal("9.00"),
}
SOLD_OUT = "durian cendol"
PORTIONS: Mapping[str, int] = {dish: 0 if dish == SOLD_OUT else 100_000 for dish in PRICES}

GOOD_CARD = "4242-4242-4242-4242"
DECLINED_CARD = "4000-0000-0000-0002"  # the provider refuses it, and says so by a webhook
DISPUTED_CARD = "4000-0000-0000-2685"  # paid, and at once disputed by the card's bank: no refund until that has decided
GOOD_ADDRESS = "12, Jalan Telawi, Kuala Lumpur"
ADDRESS_WITHOUT_COURIER = "Atlantis"


def total(dishes: Iterable[Item]) -> Decimal:
    """What they cost. Raises KeyError for a dish that is not on the menu."""
    return sum((PRICES[dish.sku] * dish.quantity for dish in dishes), Decimal(0))
