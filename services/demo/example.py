"""One compensated saga, drawn: what was done and what was undone, side by side, and its trace."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from services.demo.world import World

# The one whose payment had to be refunded, and of those the one that was open the longest: a kill fell into its life.
LONGEST_REFUNDED: LiteralString = """
    SELECT id FROM amends.sagas
    WHERE type = 'checkout' AND status = 'failed' AND problem LIKE '%ShippingRefused%'
    ORDER BY ended_at - started_at DESC LIMIT 1
"""
JOURNAL: LiteralString = """
    SELECT j.body FROM amends.journal j JOIN amends.sagas s USING (saga_no) WHERE s.id = %s ORDER BY j.pos
"""
WIDTH = 56
TRACE_PATIENCE_S = 20.0


@dataclass(slots=True)
class Line:
    """An operation and its undo; times in microseconds since the epoch."""

    name: str
    asked_us: int
    answered_us: int | None = None
    outcome: str = "no answer"
    attempts: int = 1
    undo_asked_us: int | None = None
    undone_us: int | None = None


async def draw(world: World) -> tuple[str, str]:
    """(its id, the text); ("", why not) if no saga was compensated."""
    async with await psycopg.AsyncConnection.connect(world.urls["orchestrator"]) as connection:
        found = await (await connection.execute(LONGEST_REFUNDED)).fetchone()
        if found is None:
            return "", "No saga had to refund anything."
        rows = await (await connection.execute(JOURNAL, found)).fetchall()
    parts = [part for (body,) in rows for part in read_turn(body)]
    return found[0], f"{side_by_side(found[0], parts)}\n\n{await trace(world, found[0])}"


def read_turn(body: str) -> list[tuple[int, dict[str, Any]]]:
    """(time, part) of one journal row: all that a turn decided bears the time of what came in."""
    turn = json.loads(body)
    return [(turn[0]["at"], part) for part in turn]


def side_by_side(saga_id: str, parts: Sequence[tuple[int, dict[str, Any]]]) -> str:
    began_us = parts[0][0]
    lines = [f"The journal of {saga_id}, which had to make amends", f"  {'done':<{WIDTH}}undone"]
    for line in operations(parts):
        answer = f"{line.outcome} {seconds(line.answered_us, began_us)}" if line.answered_us else line.outcome
        tries = f" (attempt {line.attempts})" if line.attempts > 1 else ""
        left = f"{line.name:<14}{seconds(line.asked_us, began_us)}  {answer}{tries}"
        right = ""
        if line.undo_asked_us:
            right = f"{seconds(line.undo_asked_us, began_us)}  undone {seconds(line.undone_us, began_us)}"
        lines.append(f"  {left:<{WIDTH}}{right}".rstrip())
    return "\n".join(lines)


def operations(parts: Sequence[tuple[int, dict[str, Any]]]) -> list[Line]:
    """The calls of a journal, in the order of their creation."""
    lines: dict[int, Line] = {}
    for at_us, part in parts:
        match part:
            case {"op": "call", "seq": seq, "attempt": attempt}:
                lines[seq].attempts = attempt
            case {"op": "call", "seq": seq, "name": name}:
                lines[seq] = Line(name, at_us)
            case {"in": "replied", "seq": seq, **rest} if rest.get("outcome") in (None, "succeeded", "failed"):
                lines[seq].answered_us, lines[seq].outcome = at_us, rest.get("outcome", "succeeded")
            case {"op": "undo", "undo_of": seq}:
                lines[seq].undo_asked_us = lines[seq].undo_asked_us or at_us
            case {"in": "undo_replied", "seq": seq, "outcome": "undone"}:
                lines[seq].undone_us = at_us
    return [lines[seq] for seq in sorted(lines)]


def seconds(at_us: int | None, began_us: int) -> str:
    return "   -   " if at_us is None else f"{(at_us - began_us) / 1e6:6.2f}s"


async def trace(world: World, saga_id: str) -> str:
    """What `amends trace` prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.cli", "trace", saga_id),
        env={**os.environ, **world.environment("orchestrator")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), TRACE_PATIENCE_S)
    return f"amends trace {saga_id}\n{output.decode().rstrip()}"
