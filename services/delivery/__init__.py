"""The delivery of a meal, whole: the saga, and all that only a delivery needs.

saga       the saga `delivery` and its child `dispatch`
menu       the dishes, and what goes wrong with which data
webhook    hears from the payment provider, and tells the saga

The services that the saga calls serve the checkout too and stand beside this folder: `services/orders.py`, `stock.py`,
`payments.py`, `shipping.py`; what travels is in `services/contracts.py`. The provider is `services/gateway`.
"""
