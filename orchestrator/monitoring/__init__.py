"""How the processes of an installation are, for machines: /metrics, /health and /ready on a port, if one is set.

Nothing here disturbs the work. The parts of a process count in plain numbers as they go; the listener has a thread with
an event loop of its own, and each database is asked by another thread over a session of its own, whether anybody
scrapes or not. A request is answered from what lies in memory, so it waits neither for Postgres nor for Kafka.
"""
