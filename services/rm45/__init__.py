"""A customer pays RM 45.00, and what stands between a lost answer and RM 90.00.

`make demo-rm45` (`python -m services.rm45`): one handler charges a card at a gateway that loses an answer, and at one
that is down while hundreds of charges are open. Its protections are switched one by one: the idempotency key, the
lookup, the breaker. What each run did is read from the gateway's own book.
"""
