"""Start sagas, send to them, and the control verbs."""

import json
import secrets
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import output
from orchestrator.cli.context import CONTEXT, AppOption, AsJson, Note, SagaId, wants_json

if TYPE_CHECKING:
    from orchestrator.client import SyncClient
    from orchestrator.client.answers import VerbRow

OUTCOME_WAIT_S = 3.0  # how long a verb waits to be read by an orchestrator, to say what came of it
OUTCOME_POLL_S = 0.05
LISTED_DEFAULT, LISTED_MAX = 50, 10_000


def add_to(app: typer.Typer) -> None:
    """Register this group's commands."""
    for name, command in (
        ("start", start),
        ("send", send),
        ("cancel", cancel),
        ("terminate", terminate),
        ("retry", retry),
        ("skip", skip),
        ("fail", fail),
        ("unblock", unblock),
        ("verbs", verbs),
    ):
        app.command(name)(command)


def start(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The saga's type (its name).")],
    input_: Annotated[str, typer.Option("--json", metavar="JSON", help="Its input; - reads stdin.")] = "null",
    saga_id: Annotated[str | None, typer.Option("--id", help="A business key; made up if missing.")] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Else the code's, else the latest seen.")
    ] = None,
    app: AppOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and print its result.")] = False,
) -> None:
    """Start a saga by the name of its type.

    No code of it is needed; with --app its input is checked. `--json` is the saga's input here; for output as JSON say
    `amends --json start …`.

    Example: amends start checkout --json '{"order_id": "7"}' --id order-7
    """
    from orchestrator.canonical import canonical_json
    from orchestrator.client import requests
    from orchestrator.client.by_name import input_by_code
    from orchestrator.loading import load_app
    from orchestrator.messaging import framing

    value = _parsed(sys.stdin.read() if input_ == "-" else input_)
    settings = CONTEXT.settings()
    text = canonical_json(value)
    if app is not None:
        version, text = input_by_code(load_app(app).sagas, app, type_, version, value)
    saga_id = saga_id or f"{type_}-{secrets.token_hex(4)}"
    framing.prepare(settings, [])
    with CONTEXT.client() as client:
        started = client.request(requests.start_latest(type_, version, text, saga_id, settings.topic_prefix))
        if wait:
            result = json.loads(client.end_of(saga_id, requests.result(saga_id, None)))
            output.print_json({"id": saga_id, "result": result} if CONTEXT.as_json else result)
            return
    if CONTEXT.as_json:
        output.print_json(started)
        return
    print(started.id)
    already = "" if started.created else "was there already; "
    output.say(f"{already}follow it: amends watch {started.id}")


def send(
    saga_id: SagaId,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The message's type.")],
    body: Annotated[str, typer.Argument(metavar="JSON", help="Its fields; - reads stdin.")],
    channel: Annotated[str, typer.Option("--channel", help="Which stream of that type.")] = "",
    message_id: Annotated[str | None, typer.Option("--message-id", help="Delivered once per saga.")] = None,
    app: AppOption = None,
    as_json: AsJson = False,
) -> None:
    """Send a message to a saga.

    Its type is known from schemas/*.avsc, or from the code with --app.

    Example: amends send order-7 PaymentSettled '{"reference": "r-1"}'
    """
    from orchestrator.client import requests
    from orchestrator.client.by_name import encoded_by_name
    from orchestrator.loading import load_app

    value = _parsed(sys.stdin.read() if body == "-" else body)
    settings = CONTEXT.settings()
    if app is not None:
        load_app(app)
    payload = encoded_by_name(type_, value, settings)
    with CONTEXT.client() as client:
        client.request(requests.send_encoded(saga_id, type_, payload, channel, message_id, settings.topic_prefix))
    if wants_json(as_json):
        output.print_json({"id": saga_id, "type": type_, "channel": channel})
        return
    output.say(f"sent; look: amends show {saga_id}")


def cancel(saga_id: SagaId, as_json: AsJson = False) -> None:
    """Cancel a saga; its undos run.

    It meets CancelledError at its await.

    Example: amends cancel order-7
    """
    _give("cancel", saga_id, "", as_json)


def terminate(saga_id: SagaId, note: Note, as_json: AsJson = False) -> None:
    """Stop a saga where it is, WITHOUT its undos.

    It lists what was left undone.

    Example: amends terminate order-7 --note 'a test order'
    """
    _give("terminate", saga_id, note, as_json)


def retry(saga_id: SagaId, as_json: AsJson = False) -> None:
    """Try again what a stuck saga could not do.

    Example: amends retry order-7
    """
    _give("retry", saga_id, "", as_json)


def skip(saga_id: SagaId, note: Note, as_json: AsJson = False) -> None:
    """Go on without what a stuck saga could not do.

    The note says who has dealt with it.

    Example: amends skip order-7 --note 'refunded by hand, ticket 812'
    """
    _give("skip", saga_id, note, as_json)


def fail(saga_id: SagaId, note: Note = "given up by hand", as_json: AsJson = False) -> None:
    """Let a stuck saga fail: what can be undone is undone.

    Example: amends fail order-7 --note 'the courier is gone'
    """
    _give("fail", saga_id, note, as_json)


def unblock(saga_id: SagaId, as_json: AsJson = False) -> None:
    """Let a blocked saga go on.

    After the code that fits its journal was deployed.

    Example: amends unblock order-7
    """
    _give("unblock", saga_id, "", as_json)


def verbs(
    before: Annotated[int | None, typer.Option("--before", min=1, help="Only those with a smaller number.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=LISTED_MAX, help="How many at most.")] = LISTED_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List the verbs that were given, the newest first.

    Who told which saga what, when and why, and what came of it. If there are more, it says before which number.

    Example: amends verbs --limit 10
    """
    from orchestrator.client import reading

    with CONTEXT.client() as client:
        rows, next_before = client.request(reading.verbs_given(before, limit))
    if wants_json(as_json):
        output.print_json({"verbs": rows, "next_before": next_before})
        return
    if not rows:
        output.say("no verb was given")
        return
    output.print_table(
        ["no", "given", "by", "verb", "saga", "note", "outcome"],
        [
            [
                r.verb_no,
                r.given_at,
                r.given_by,
                r.verb,
                r.saga_id,
                output.shortened(r.note),
                r.outcome or "not read yet",
            ]
            for r in rows
        ],
    )
    if next_before is not None:
        output.say(f"there are more: amends verbs --before {next_before}")


def _give(verb: str, saga_id: str, note: str, as_json: bool) -> None:
    from orchestrator.client import requests

    with CONTEXT.client() as client:
        verb_no = client.request(requests.give_verb(saga_id, verb, note))
        row = _outcome(client, verb_no)
    if wants_json(as_json):
        output.print_json(row)
    elif row.done_at is None:
        output.say(f"written down, and not read within {OUTCOME_WAIT_S:g} s: is an orchestrator running? amends doctor")
    else:
        output.say(f"{row.outcome or 'done'}; look: amends show {saga_id}")


def _outcome(client: "SyncClient", verb_no: int) -> "VerbRow":
    from orchestrator.client import reading

    end_s = time.monotonic() + OUTCOME_WAIT_S
    while (row := client.request(reading.verb(verb_no))).done_at is None and time.monotonic() < end_s:
        time.sleep(OUTCOME_POLL_S)
    return row


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"not JSON: {error}: {output.shortened(text)}; in a shell quote it: '{{\"a\": 1}}'"
        ) from None
