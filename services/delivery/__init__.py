"""The delivery of a meal, whole: the saga, and all that only a delivery needs. What each part promises: docs/shop.md.

saga       the saga `delivery` and its child `dispatch`        webhook, signature  hears from the payment provider
menu       the dishes, and what goes wrong with which data     customer            what a person does on its page
mailer     the service `email`: listens, and writes to people  mail                the mail server, another company's
receipts   makes PDFs by a job queue that may lose jobs        receipt             one of them
auditor    shares nothing with the others: do the books agree?

The services that the saga calls serve the checkout too and stand beside this folder: `services/orders.py`, `stock.py`,
`payments.py`, `shipping.py`; so does `analytics.py`, which listens to both. What travels is in `services/contracts.py`.
The provider is `services/gateway`.
"""
