"""What the tests of this folder start. No orchestrator is there: a test plays its part with `ended` and `journaled`."""

import json
from typing import Any

import psycopg

from orchestrator.contracts import Message


class Order(Message):
    order_id: str
    total: int = 100


class Receipt(Message):
    order_id: str


class Settled(Message, name="TestSettled"):
    reference: str


def ended(
    url: str, saga_id: str, status: str, *, result: Any = None, problem: Any = None, left: list[str] | None = None
) -> None:
    """End a saga as the engine does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE amends.sagas SET status = %s, ended_at = now(), result = %s, problem = %s, left_undone = %s"
            " WHERE id = %s",
            [status, _dumped(result), _dumped(problem), left or [], saga_id],
        )


def journaled(url: str, saga_id: str, *bodies: list[dict[str, Any]]) -> None:
    """Write turns as the engine does, from position 0."""
    with psycopg.connect(url, autocommit=True) as connection:
        for pos, body in enumerate(bodies):
            connection.execute(
                "INSERT INTO amends.journal (saga_no, pos, body)"
                " SELECT saga_no, %s, %s FROM amends.sagas WHERE id = %s",
                [pos, json.dumps(body), saga_id],
            )


def _dumped(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
