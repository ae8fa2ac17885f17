"""The failpoints of outbox_relay, which is the lower of the two: one specification arms the places of both."""

from outbox_relay.failpoints import FailpointReached, arm, disarm, failpoint

__all__ = ["FailpointReached", "arm", "disarm", "failpoint"]
