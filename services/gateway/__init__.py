"""Another company's payment gateway: a process of its own, spoken to over HTTP, with a book that only it writes.

`python -m services.gateway --book var/demo/gateway.sqlite --port 0 --port-file var/demo/gateway.port`

It honours Idempotency-Key, and it misbehaves by script: what a card does is in `cards`, what a phase does in `phases`.
It is no safety net: it books what it is asked to, so that whoever reads its book sees what it was asked.
"""
