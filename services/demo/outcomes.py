"""How each order ended, and by which of the ways that the demo has to show."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import LiteralString

import psycopg

from services.demo.options import Options
from services.demo.world import World

ENDS: LiteralString = "SELECT id, status, problem FROM amends.sagas WHERE type = 'checkout'"
PARKED: LiteralString = """
    SELECT DISTINCT s.id FROM amends.sagas s JOIN amends.journal j USING (saga_no) WHERE j.body LIKE '%BreakerOpen%'
"""
UNLUCKY = "SELECT order_id, answer FROM attempts WHERE kind = 'charge' AND answer IS NOT 'sent'"

BY_FAILURE: Mapping[str, str] = {
    "OutOfStock": "out_of_stock",
    "CardDeclined": "card_declined",
    "ShippingRefused": "shipping_refused",
}
OUTAGE = {"turned away", "hung up", "parked"}
WANTED = ("success", "out_of_stock", "card_declined", "answer_lost", "shipping_refused")


def count_outcomes(world: World) -> Counter[str]:
    """Outcome -> how many orders."""
    answers = unlucky_answers(world)
    with psycopg.connect(world.urls["orchestrator"]) as connection:
        rows = connection.execute(ENDS).fetchall()
        for (order_id,) in connection.execute(PARKED):
            answers.setdefault(order_id, set()).add("parked")
    return Counter(outcome(status, problem, answers.get(order_id, set())) for order_id, status, problem in rows)


def outcome(status: str, problem: str | None, answers: set[str]) -> str:
    """The name of one order's ending. `answers`: what became of its charge, but for plain answers."""
    if status == "completed":
        if answers & {"lost", "late"}:
            return "answer_lost"
        if answers & OUTAGE:
            return "gateway_down"
        return "answer_lost" if answers else "success"
    if status != "failed":
        return status
    failure = json.loads(problem or "{}").get("type", "unknown")
    return BY_FAILURE.get(failure, f"failed: {failure}")


def unlucky_answers(world: World) -> dict[str, set[str]]:
    """Order -> how the gateway misbehaved towards it. No answer: it is still busy with one that nobody waits for."""
    answers: dict[str, set[str]] = {}
    connection = sqlite3.connect(f"file:{world.gateway_book}?mode=ro", uri=True)
    try:
        for order_id, answer in connection.execute(UNLUCKY):
            answers.setdefault(order_id, set()).add(answer or "none")
    finally:
        connection.close()
    return answers


def missing_outcomes(outcomes: Mapping[str, int], options: Options) -> list[str]:
    """The outcomes that the demo has to show and did not."""
    wanted = [*WANTED, *(["gateway_down"] if "gateway" in options.faults else [])]
    return [name for name in wanted if not outcomes.get(name)]
