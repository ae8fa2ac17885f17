"""Start sagas, send to them, and the control verbs."""

import json
import secrets
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import output
from orchestrator.cli.context import CONTEXT, AppOption, AsJson, Note, SagaId, wants_json
from orchestrator.errors import PayloadError, RequestError

if TYPE_CHECKING:
    from orchestrator.client import SyncClient
    from orchestrator.client.answers import VerbRow

OUTCOME_WAIT_S = 3.0  # how long a verb waits to be read by an orchestrator, to say what came of it
OUTCOME_POLL_S = 0.05


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
    from orchestrator.messaging import framing

    value = _parsed(sys.stdin.read() if input_ == "-" else input_)
    settings = CONTEXT.settings()
    text = canonical_json(value)
    if app is not None:
        version, text = _checked_by_code(app, type_, version, value)
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

    value = _parsed(sys.stdin.read() if body == "-" else body)
    settings = CONTEXT.settings()
    payload = _encoded(type_, value, app, settings)
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


def _checked_by_code(target: str, type_name: str, version: int | None, value: Any) -> tuple[int, str]:
    """The version and the canonical input by the saga's own code."""
    from orchestrator.client.requests import adapter, encoded_input
    from orchestrator.loading import load_app

    sagas = [saga for saga in load_app(target).sagas if saga.name == type_name and version in (None, saga.version)]
    if not sagas:
        raise RequestError(f"{target} has no saga {type_name}{f' version {version}' if version else ''}")
    saga = max(sagas, key=lambda found: found.version)
    try:
        decoded = adapter(saga.input_type).validate_json(json.dumps(value))
    except ValueError as error:
        raise PayloadError(f"this is no input for {type_name}: {error}") from None
    return saga.version, encoded_input(saga.input_type, decoded)


def _encoded(type_name: str, value: Any, app: str | None, settings: Any) -> bytes:
    """A message's bytes, by its class if it is imported, else by its schema file."""
    from orchestrator.contracts import message_named
    from orchestrator.loading import load_app
    from orchestrator.messaging import avro, framing

    if app is not None:
        load_app(app)
    if (cls := message_named(type_name)) is not None:
        try:
            checked = cls.model_validate_json(json.dumps(value))
        except ValueError as error:
            raise PayloadError(f"this is no {type_name}: {error}") from None
        framing.prepare(settings, [cls])
        return avro.encode(cls, checked.model_dump(mode="json"))
    path = settings.schemas_dir / f"{type_name}.avsc"
    if not path.is_file():
        raise RequestError(
            f"no message {type_name} is known: say where its class is (--app shop.app:app) or where its schema is "
            f"(AMENDS_SCHEMAS_DIR; there is no {path})"
        )
    schema = avro.read_schema(path)
    framing.prepare_schema(settings, type_name, schema)
    return avro.register(schema).encode(value)
