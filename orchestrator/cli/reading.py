"""Look at sagas: ls, show, watch, trace, stuck."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_args

import typer

from orchestrator import limits
from orchestrator.cli import exits, output
from orchestrator.cli.context import CONTEXT, AsJson, SagaId, wants_json

ROWS_DEFAULT = 50
ROWS_MAX = 10_000
WATCH_POLL_S = 0.2


def add_to(app: typer.Typer) -> None:
    """Register this group's commands."""
    app.command("ls")(ls)
    app.command("show")(show)
    app.command("watch")(watch)
    app.command("trace")(trace)
    app.command("stuck")(stuck)


def ls(
    statuses: Annotated[
        list[str] | None, typer.Option("--status", help="Only sagas of this status; again for each.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only sagas of this type.")] = None,
    contains: Annotated[str, typer.Option("--contains", metavar="TEXT", help="Only sagas with this in their id.")] = "",
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Only sagas that began so long ago: 90s, 30m, 2h, 7d."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=ROWS_MAX, help="How many at most.")] = ROWS_DEFAULT,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where the list before ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """List sagas, the newest first.

    If there are more, it says with which cursor to go on; as JSON, that is `next_cursor`.

    Example: amends ls --status running --type checkout --older-than 2h
    """
    from orchestrator.client.answers import Page, Status

    if unknown := [one for one in statuses or () if one not in get_args(Status)]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(get_args(Status))}", param_hint="--status")
    filters: dict[str, Any] = {
        "status": statuses or None,
        "type": type_,
        "contains": contains,
        "older_than": None if older_than is None else _age(older_than),
    }
    found, more = Page((), cursor), True
    with CONTEXT.client() as client:
        # A filter that matches little leaves pages short: go on until there is what was asked for, or nothing more.
        while more:
            rows_max = min(limit - len(found.sagas), limits.LISTED_MAX)
            page = client.list(cursor=found.next_cursor, rows_max=rows_max, **filters)
            found = Page(found.sagas + page.sagas, page.next_cursor)
            more = page.next_cursor is not None and len(found.sagas) < limit
    if wants_json(as_json):
        output.print_json(found)
        return
    if not found.sagas:
        output.say("no such saga" if any(filters.values()) else "no sagas; start one: amends start TYPE --json '{…}'")
        return
    _print_sagas(found.sagas)
    if found.next_cursor is not None:
        output.say(f"there are more: say the same with --cursor {found.next_cursor}")


def _age(text: str) -> timedelta:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[-1:] not in units or not text[:-1].isdecimal():
        raise typer.BadParameter(f"{text!r} is none of 90s, 30m, 2h, 7d", param_hint="--older-than")
    try:
        return timedelta(**{units[text[-1]]: int(text[:-1])})
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is longer than anything lasts", param_hint="--older-than") from None


def stuck(as_json: AsJson = False) -> None:
    """List the sagas that wait for a person.

    Stuck: an undo can't succeed, or a step after the pivot failed. Blocked: the code does not fit the journal.

    Example: amends stuck
    """
    from orchestrator.client import reading

    with CONTEXT.client() as client:
        rows = client.request(reading.parked())
    if wants_json(as_json):
        output.print_json(rows)
        return
    if not rows:
        output.say("nothing is stuck")
        return
    _print_sagas(rows)
    if any(row.status == "stuck" for row in rows):
        output.say(
            "stuck: mend the cause, then amends retry ID; or amends skip ID --note '…', amends fail ID --note '…'"
        )
    if any(row.status == "blocked" for row in rows):
        output.say("blocked: look with amends show ID, deploy the fix, then amends unblock ID")


def show(saga_id: SagaId, as_json: AsJson = False) -> None:
    """Show one saga and its journal.

    Its row, what it waits for, each turn, and the verbs it was given.

    Example: amends show order-7
    """
    from orchestrator.client import reading
    from orchestrator.story import read_story, waiting_for

    with CONTEXT.client() as client:
        record = client.request(reading.whole_record(saga_id))
    waits = () if record.saga.ended_at else waiting_for(read_story([row.body for row in record.journal]))
    if wants_json(as_json):
        output.print_json({**output.to_json(record), "waiting_for": list(waits)})
        return
    saga = record.saga
    facts: list[tuple[str, Any]] = [
        ("id", saga.id),
        ("type", f"{saga.type} version {saga.version}"),
        ("status", saga.status),
        ("error", saga.error),
        ("started", saga.started_at),
        ("ended", saga.ended_at),
        ("shard", saga.shard),
        ("child of", record.parent_id),
        ("input", output.compact(record.input)),
        ("result", None if saga.status != "completed" else output.compact(record.result)),
        ("waits for", "; ".join(waits)),
        ("left undone", ", ".join(record.left_undone)),
        *((f"value {key}", output.compact(value)) for key, value in record.values.items()),
    ]
    for name, value in facts:
        if value not in (None, ""):
            print(f"{name:<12} {output.cell(value)}")
    _print_journal(record)
    if record.verbs:
        print()
        output.print_table(
            ["verb", "given at", "by", "note", "outcome"],
            [[v.verb, v.given_at, v.given_by, v.note, v.outcome or "not read yet"] for v in record.verbs],
        )


UNREMARKABLE = ("", "queued", "running")
"""A saga that is under way: whether its first turns were seen as they came, or afterwards, is no news to a reader."""


def watch(
    saga_id: SagaId,
    as_json: AsJson = False,
) -> None:
    """Follow a saga's journal until it ends.

    Exit code 7 if it did not complete.

    Example: amends watch order-7
    """
    from orchestrator.client import reading
    from orchestrator.client.answers import ENDED

    printing_json, next_pos, status = wants_json(as_json), 0, ""
    with CONTEXT.client() as client:
        while True:
            saga, rows = client.request(reading.journal_from(saga_id, next_pos))
            for row in rows:
                next_pos = row.pos + 1
                output.print_json(row) if printing_json else output.print_lines([_turn_line(row, saga.started_at)])
            if saga.status != status:
                if printing_json:
                    output.print_json({"status": saga.status})
                elif status not in UNREMARKABLE or saga.status not in UNREMARKABLE:
                    output.say(f"{saga_id} is {saga.status}")
                status = saga.status
            if saga.status in ENDED and not rows:
                break
            if not rows:
                time.sleep(WATCH_POLL_S)
    if status != "completed":
        raise typer.Exit(exits.SAGA_FAILED)


def trace(saga_id: SagaId, as_json: AsJson = False) -> None:
    """Draw a saga as a tree of what happened when.

    From the database alone: times, attempts, takeovers survived, undos, children.

    Example: amends trace order-7
    """
    from orchestrator.client import reading
    from orchestrator.tracing.tree import drawn, tree_of

    with CONTEXT.client() as client:
        record = client.request(reading.whole_record(saga_id))
    root = tree_of(record, now_us=int(time.time() * 1_000_000))
    if wants_json(as_json):
        output.print_json(root)
        return
    output.print_lines(drawn(root))


def _print_sagas(rows: Any) -> None:
    output.print_table(
        ["id", "type", "status", "started", "ended", "error"],
        [[r.id, r.type, r.status, r.started_at, r.ended_at, output.shortened(r.error or "")] for r in rows],
    )


def _print_journal(record: Any) -> None:
    if not record.journal:
        print("\nno turn yet: it waits for an orchestrator")
        return
    print()
    output.print_table(
        ["pos", "after", "came in", "decided"],
        [
            [row.pos, _after(row, record.saga.started_at), _entry_text(row.body[0]), _decisions_text(row.body[1:])]
            for row in record.journal
        ],
    )


def _turn_line(row: Any, started_at: datetime) -> str:
    decided = _decisions_text(row.body[1:])
    line = f"{row.pos:>4}  {_after(row, started_at):>10}  {_entry_text(row.body[0])}"
    return f"{line}  ->  {decided}" if decided else line


def _after(row: Any, started_at: datetime) -> str:
    at = datetime.fromtimestamp(int(row.body[0].get("at", 0)) / 1_000_000, UTC)
    # An orchestrator knows the database's time to half a round trip: its first entry may seem to be before the start.
    return f"+{max(0.0, (at - started_at).total_seconds()):.3f}s"


def _entry_text(entry: dict[str, Any]) -> str:
    seq = f" #{entry['seq']}" if "seq" in entry else ""
    attempt = f" attempt {entry['attempt']}" if int(entry.get("attempt", 1)) > 1 else ""
    problem = entry.get("problem") or {}
    said = problem.get("text") or problem.get("type") or ""
    usual = "succeeded" if entry.get("in") in ("replied", "step_ended") else ""  # the journal leaves it out
    what = entry.get("outcome") or entry.get("verb") or entry.get("type") or usual
    text = f"{entry.get('in', '?')}{seq}{attempt} {what}".rstrip()
    return output.shortened(f"{text}: {said}" if said else text)


def _decisions_text(decisions: list[dict[str, Any]]) -> str:
    """All that is settled is one item: at an end each service is told that it may forget."""
    settled = [str(decision.get("service", "?")) for decision in decisions if decision.get("op") == "settle"]
    texts = [_decision_text(decision) for decision in decisions if decision.get("op") != "settle"]
    return "; ".join([*([f"settle {', '.join(settled)}"] if settled else []), *texts])


def _decision_text(decision: dict[str, Any]) -> str:
    seq = decision.get("seq", decision.get("undo_of"))
    number = "" if seq is None else f" #{seq}"
    attempt = f" attempt {decision['attempt']}" if int(decision.get("attempt", 1)) > 1 else ""
    if decision.get("op") == "set":
        return output.shortened(f"set {decision.get('key')} = {output.compact(decision.get('value'))}")
    name = " ".join(str(decision[key]) for key in ("name", "id", "reason") if decision.get(key))
    return output.shortened(f"{decision.get('op', '?')}{number} {name}{attempt}".rstrip())
