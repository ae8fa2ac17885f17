"""What a handler is refused: to end the transaction that its rows share with the inbox and the outbox."""

from orchestrator.errors import AmendsError


class TransactionIsOurs(AmendsError):
    """A handler tried to end the transaction that it shares with the inbox."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is refused inside a handler: its rows, the inbox and the outbox commit together after it returns. "
            f"Raise an exception to roll back, or use a savepoint: async with tx.connection.transaction()"
        )
