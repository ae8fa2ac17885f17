"""The whole shop in one process, for play: `amends dev services.app:app`."""

from orchestrator import App
from services.analytics import analytics
from services.checkout import checkout
from services.delivery.saga import delivery, dispatch
from services.orders import orders
from services.payments import payments
from services.shipping import shipping
from services.stock import stock

app = App(sagas=[checkout, delivery, dispatch], participants=[orders, stock, payments, shipping, analytics])
