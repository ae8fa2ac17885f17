"""Another company's payment gateway: a process of its own, spoken to over HTTP, with a book that only it writes.

`python -m services.gateway --book var/demo/gateway.sqlite --port 0 --port-file var/demo/gateway.port`

web, book        charges and refunds of a card, at once             desk, script   how each request is answered
pages, payments  payments that a customer makes on its own page     webhooks       what it then tells the shop

It honours Idempotency-Key, and it misbehaves by script: what a card does is in `CARDS`, what a phase does in `PACES`.
It is no safety net: it books what it is asked to, so that whoever reads its book sees what it was asked.
With `--webhook-url` and WEBHOOK_SECRET it tells the shop there, signed, what became of each payment.
"""
