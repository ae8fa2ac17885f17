"""The protocol as small machines, every state of which is visited: `python -m tests.model` (see `__main__`).

    explorer   walks a machine breadth first and tells the shortest story that breaks a promise
    rules      what a machine's rules are, and the examination: with all of them it holds, without any one it breaks
    fence      M1: who may write a shard, and what a COMMIT without an answer means
    outcome    M2: one external command, from the first attempt to the purged inbox row; `inbox` is its participant
    relay      M3: the outbox table, the slot, two relays
    timers     M4: a timeout and the outages around it
    wipe       M5: Kafka loses what it had
    identity   M6: whose answer is it

Where the product's own code is pure, the machine runs that code instead of telling it again: the participant's
functions on an inbox row in memory (M2), `Patience`, `Wakeups` and `Watermarks` (M4), `Snapshot` (M3), keys and body
hashes (M6). So these can't drift from what is built. What stands in SQL or in threads is told again here; for the
fence a test compares each case that the walk met with the real function (tests/stories/test_fence_agrees.py).

Bounds, so that nobody reads more into "holds" than there is: two faults at most (a crash, a copy, a lost answer ...),
two attempts, one operation and one shard at a time, no clocks that differ between participants, no partial failure of
Kafka. A stopped process may wake up at any time or never; nothing may depend on it.
"""
