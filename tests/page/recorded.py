"""Sagas of the shop in every state, as the product's API tells them, with their books. Built here, to be short."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

ANSWER = "PaymentSettled | PaymentRefused"
STEPS = (
    ("call", "PlaceOrder"),
    ("call", "ReserveDishes"),
    ("call", "RequestPayment"),
    ("receive", ANSWER),
    ("call", "MarkPaid"),
    ("child", "dispatch"),
    ("call", "MarkDelivered"),
)
PIVOT_SEQ = 4
NAMES = ("Aisha", "Wei Ling", "Farid", "Priya", "Jun Hao", "Nadia", "Tom", "Mei")


def iso(at: datetime) -> str:
    return at.isoformat()


def op(seq: int, kind: str, name: str, state: str = "succeeded", **more: Any) -> Json:
    usual = {"attempts": 1, "was_unknown": False, "undo": None, "child_id": None}
    return {"seq": seq, "kind": kind, "name": name, "state": state, **usual, **more}


def undo(state: str = "undone", attempts: int = 1, error: str | None = None) -> Json:
    return {"state": state, "attempts": attempts, "error": error}


def steps(count: int, last: str = "succeeded") -> list[Json]:
    """The first steps of a delivery, the last of them in this state."""
    return [op(at, *STEPS[at], state=last if at == count - 1 else "succeeded") for at in range(count)]


def saga(number: int, status: str, ops: list[Json], age_s: float, took_s: float | None = None, **more: Any) -> Json:
    started = datetime.now(UTC) - timedelta(seconds=age_s)
    ended = None if took_s is None else iso(started + timedelta(seconds=took_s))
    usual = {
        "id": f"order-{number}",
        "type": "delivery",
        "version": 1,
        "status": status,
        "shard": number % 8,
        "started_at": iso(started),
        "ended_at": ended,
        "error": None,
        "parent_id": None,
        "turns": len(ops) + 1,
        "waiting_for": [],
        "undone_because": None,
        "deadline": None,
        "pivot_seq": None,
        "ops": ops,
        "seams": [],
    }
    return {**usual, **more}


def child(number: int, status: str, ops: list[Json], age_s: float, **more: Any) -> Json:
    whose = {"id": f"order-{number}/dispatch", "type": "dispatch", "parent_id": f"order-{number}"}
    return saga(number, status, ops, age_s, **whose, **more)


def book(number: int, total: str, dishes: int, **more: Any) -> Json:
    """A book of money that was taken and is in flight; `more` says what is otherwise."""
    nothing = "0.00"
    usual: Json = {
        "order_id": f"order-{number}",
        "saga_id": f"order-{number}",
        "customer": NAMES[number % len(NAMES)],
        "dishes": dishes,
        "placed_at": iso(datetime.now(UTC)),
        "gateway": {"taken": total, "back": nothing, "refs": [f"pi_{number}"]},
        "order": {"owed": total, "cancelled": nothing, "status": "open"},
        "stock": {"out": dishes, "back": 0},
        "open": total,
        "unknown": False,
    }
    return {**usual, **more}


def taken_back(number: int, total: str, dishes: int) -> Json:
    return book(
        number,
        total,
        dishes,
        gateway={"taken": total, "back": total, "refs": [f"pi_{number}", f"re_{number}"]},
        order={"owed": total, "cancelled": total, "status": "cancelled"},
        stock={"out": dishes, "back": dishes},
        open="0.00",
    )


def untaken(number: int, owed: str, dishes: int, **more: Any) -> Json:
    return book(number, owed, dishes, gateway={"taken": "0.00", "back": "0.00", "refs": []}, open="0.00", **more)


@dataclass
class Shop:
    """What a page would find. `add` puts in a saga, perhaps with its books."""

    sagas: dict[str, Json] = field(default_factory=dict)
    books: dict[str, Json] = field(default_factory=dict)

    def add(self, outline: Json, its_book: Json | None = None) -> None:
        self.sagas[outline["id"]] = outline
        if its_book is not None:
            self.books[its_book["order_id"]] = its_book


def seam(at_seq: int, age_s: float) -> Json:
    at = iso(datetime.now(UTC) - timedelta(seconds=age_s))
    return {"takeover_id": "1-8", "seq": at_seq, "at": at, "worker": "orchestrator-2-4711", "epoch": 8}


def every_state() -> Shop:
    """One saga of each state that a row can show."""
    shop = Shop()
    _on_the_way(shop)
    _on_the_way_back(shop)
    _over(shop)
    _with_a_person(shop)
    return shop


def many(count: int) -> Shop:
    """The recorded states on top of thousands that are over."""
    shop = every_state()
    for number in range(count - len(shop.books)):
        outline = saga(number, "completed", steps(7), 2_000 + number * 3, 4.2, pivot_seq=PIVOT_SEQ, id=f"past-{number}")
        delivered = book(number, "21.50", 2, order_id=f"past-{number}", saga_id=f"past-{number}", open="0.00")
        shop.add(outline, delivered)
    return shop


def _on_the_way(shop: Shop) -> None:
    shop.add(saga(1047, "running", steps(3, "open"), 1), untaken(1047, "32.50", 2))
    lost = steps(3, "open")
    lost[2] |= {"was_unknown": True}
    shop.add(saga(1046, "running", lost, 4), book(1046, "45.00", 3, unknown=True))
    again = steps(4, "open")
    again[2] |= {"attempts": 3}
    waits = {"deadline": iso(datetime.now(UTC) + timedelta(minutes=9)), "waiting_for": [f"receive {ANSWER}"]}
    shop.add(saga(1045, "running", again, 9, **waits), untaken(1045, "58.00", 5))
    shop.add(saga(1044, "running", steps(4, "open"), 25, seams=[seam(2, 20)], **waits), untaken(1044, "27.90", 2))
    sent = steps(6, "open")
    sent[5] |= {"child_id": "order-1041/dispatch"}
    shop.add(saga(1041, "running", sent, 42, pivot_seq=PIVOT_SEQ, seams=[seam(3, 20)]), book(1041, "38.00", 2))
    label = op(0, "call", "PrintLabel", attempts=2)
    shop.add(child(1041, "running", [label, op(1, "call", "BookCourier", "open")], 20))


def _on_the_way_back(shop: Shop) -> None:
    undoing = steps(4)
    undoing[2] |= {"undo": undo("open")}
    because = "NotPaid(order_id='order-1043', reason='card expired')"
    turned = saga(1043, "compensating", undoing, 30, seams=[seam(3, 20)], undone_because=because)
    shop.add(turned, book(1043, "64.00", 4))


def _over(shop: Shop) -> None:
    back = steps(4)
    for at in (0, 1, 2):
        back[at] |= {"undo": undo(attempts=2 if at == 2 else 1)}
    back[2] |= {"was_unknown": True}
    refused = "NotPaid(order_id='order-1042', reason='card reported stolen')"
    shop.add(saga(1042, "failed", back, 40, 26.1, error=refused, seams=[seam(2, 20)]), taken_back(1042, "45.00", 3))
    shop.add(saga(1040, "completed", steps(7), 50, 11.2, pivot_seq=PIVOT_SEQ), book(1040, "51.50", 3, open="0.00"))
    none = [op(0, "call", "PlaceOrder", undo=undo()), op(1, "call", "ReserveDishes", "failed")]
    called_off = {"owed": "19.00", "cancelled": "19.00", "status": "cancelled"}
    nothing_out = {"order": called_off, "stock": {"out": 0, "back": 0}}
    sold_out = "OutOfStock(sku='durian cendol', left=0)"
    shop.add(saga(1039, "failed", none, 60, 0.09, error=sold_out), untaken(1039, "19.00", 1, **nothing_out))


def _with_a_person(shop: Shop) -> None:
    sent = steps(6, "open")
    sent[5] |= {"child_id": "order-1011/dispatch"}
    shop.add(saga(1011, "running", sent, 400, pivot_seq=PIVOT_SEQ), book(1011, "41.00", 2))
    no_courier = [op(0, "call", "PrintLabel"), op(1, "call", "BookCourier", "open", attempts=4)]
    shop.add(child(1011, "stuck", no_courier, 390, error="NoCourier(address='Atlantis')"))
    _given_up_by_its_child(shop)
    refused = steps(4)
    why = "RefundRefused: the card's bank has a dispute open"
    refused[2] |= {"undo": undo("failed", 7, why)}
    shop.add(saga(987, "stuck", refused, 850, error=why), book(987, "89.00", 7))
    shop.add(saga(931, "blocked", steps(3), 900, error="NonDeterminismError: line 40"), untaken(931, "63.50", 4))


def _given_up_by_its_child(shop: Shop) -> None:
    """The child ended as failed and took back its own label; its order is past the pivot."""
    why = "NoCourier(address='Atlantis')"
    sent = steps(6, "open")
    sent[5] |= {"child_id": "order-955/dispatch"}
    shop.add(saga(955, "stuck", sent, 870, pivot_seq=PIVOT_SEQ, error=why), book(955, "40.50", 5))
    undone = [op(0, "call", "PrintLabel", undo=undo()), op(1, "call", "BookCourier", "failed")]
    shop.add(child(955, "failed", undone, 869, error=why))
