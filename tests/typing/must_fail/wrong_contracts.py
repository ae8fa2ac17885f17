"""Values that break their contract. (Wrong class keywords are seen at import: pydantic's metaclass hides them here.)"""

from contracts import CardDeclined, ChargeCard, Item, OrderPaid, OutOfStock


def wrong(item: Item, charge: ChargeCard, paid: OrderPaid) -> None:
    OutOfStock("tea", 1)  # error
    OutOfStock(sku="tea")  # error
    OutOfStock(sku="tea", left="many")  # error
    no = CardDeclined(reason="limit")
    no.reason = "other"  # error
    print(no.amount)  # error
    Item(sku="tea", quantity="two", colour="red")  # error
    print(item.colour, charge.total, paid.order)  # error
