"""What outbox_relay raises on purpose.

OutboxError
├── RowRefused        a row that no relay could ever deliver: nothing was added, your transaction is as it was
│   ├── TopicUnknown  amends.topics of this database does not have its topic
│   └── RowTooLarge
└── RelayMisfit       Postgres or Kafka is set up in a way that the relay can't work with: says what to change
"""


class OutboxError(Exception):
    """The base of all that outbox_relay raises on purpose."""


class RowRefused(OutboxError, ValueError):
    """A row that no relay could ever deliver. Nothing was added."""


class TopicUnknown(RowRefused):
    """The topic is not in amends.topics of this database, so its partitions are not known."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"topic {topic!r} is not in amends.topics of this database, so nothing was added to the outbox. "
            "Make the topic and tell this database of it: `amends migrate`."
        )
        self.topic = topic


class RowTooLarge(RowRefused):
    """Kafka would refuse it for ever, and the rows of its key behind it would wait."""


class RelayMisfit(OutboxError):
    """Postgres or Kafka is set up in a way that the relay can't work with."""
