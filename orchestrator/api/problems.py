"""Every error as application/problem+json (RFC 9457): what happened, what is unchanged, what to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import psycopg
from starlette.types import Send

from orchestrator.api import limits
from orchestrator.api.stream_places import NoPlace
from orchestrator.errors import (
    AmendsError,
    DefinitionError,
    DependencyError,
    PayloadError,
    RequestError,
    SagaEnded,
    SagaIdTaken,
    SagaNotFound,
    VerbNotFound,
)
from outbox_relay.errors import OutboxError, RowRefused, TopicUnknown

MEDIA_TYPE = "application/problem+json"
UNCHANGED = "Nothing was changed."
PERHAPS = (
    "What was asked may have been done: a start, a message with its message_id, and a question may be repeated as they "
    "are; look before a verb is given again."
)
RETRY_AFTER = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Problem:
    """`name` is the last part of `type`; a program tells problems apart by it, a person reads `detail`."""

    status: int
    name: str
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str) -> bytes:
        """`instance`: the path of the request."""
        content = {
            "type": f"urn:amends:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        return json.dumps(content).encode("ascii")


def problem_of(error: Exception) -> Problem:
    """The one table of errors. What is not in it is a bug of ours, and says so without a word of what it was."""
    match error:
        case SagaNotFound():
            return Problem(404, "saga-not-found", "No such saga", str(error))
        case VerbNotFound():
            return Problem(404, "verb-not-found", "No such verb", str(error))
        case SagaIdTaken():
            return Problem(409, "saga-id-taken", "The id is another saga's", f"{error}. {UNCHANGED}")
        case SagaEnded():
            return Problem(409, "saga-ended", "The saga has ended", f"{error}. {UNCHANGED}")
        case PayloadError():
            return Problem(422, "payload-refused", "The value can't travel", f"{error}. {UNCHANGED}")
        case RequestError():
            return Problem(422, "request-refused", "That can't be", f"{error}. {UNCHANGED}")
        case TopicUnknown() | DependencyError() | DefinitionError():
            return _unavailable(f"{error}. {UNCHANGED}")
        case RowRefused():
            return Problem(422, "payload-refused", "The value can't travel", f"{error}. {UNCHANGED}")
        case NoPlace():
            return too_many_streams()
        case psycopg.OperationalError():
            return _unavailable(f"The connection to Postgres was lost. {PERHAPS}")
        case AmendsError() | OutboxError():
            return Problem(500, "failed", "It failed", str(error))
    text = "What was asked may have been done: look before it is repeated. The log says more."
    return Problem(500, "bug", "A bug of the API", text)


async def send_problem(send: Send, problem: Problem, instance: str) -> None:
    """Answer with it, without a framework. `instance`: the path of the request; nothing was sent before."""
    body = problem.body(instance)
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def http_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """What the framework refuses: no such path, another method."""
    phrase = HTTPStatus(status).phrase
    said = f"{(detail or phrase).rstrip('.')}."
    return Problem(status, phrase.lower().replace(" ", "-"), phrase, f"{said} {UNCHANGED}", headers or {})


def invalid(errors: str) -> Problem:
    """A request whose parameters or body are not as the document says."""
    return Problem(422, "invalid", "The request is not as it must be", f"{errors}. {UNCHANGED}")


def unauthenticated() -> Problem:
    return Problem(
        401,
        "no-token",
        "A token is needed",
        f"No token came with it, or none that is known: send `Authorization: Bearer TOKEN`. {UNCHANGED}",
        {"WWW-Authenticate": 'Bearer realm="amends"'},
    )


def forbidden(why: str) -> Problem:
    return Problem(403, "forbidden", "Not allowed", f"{why} {UNCHANGED}")


def too_large(bytes_max: int = limits.BODY_BYTES_MAX) -> Problem:
    text = f"A body has {bytes_max:,} bytes at most. Store it elsewhere and pass where it is."
    return Problem(413, "too-large", "The body is too large", f"{text} {UNCHANGED}")


def head_too_large(bytes_max: int = limits.HEAD_BYTES_MAX) -> Problem:
    text = f"The path, the query and the headers have {bytes_max:,} bytes at most."
    return Problem(431, "head-too-large", "The head is too large", f"{text} {UNCHANGED}")


def not_json() -> Problem:
    text = "What changes something has a body, and the header `Content-Type: application/json`."
    return Problem(415, "not-json", "The body is not JSON", f"{text} {UNCHANGED}")


def too_many(retry_after_s: int, per_s: float, whose: str = "") -> Problem:
    text = f"More than {per_s:g} requests a second{whose}. Come again in {retry_after_s} s."
    return Problem(429, "too-many", "Too many requests", f"{text} {UNCHANGED}", {"Retry-After": str(retry_after_s)})


def too_many_streams() -> Problem:
    text = (
        f"{limits.STREAMS_MAX} streams are open, or {limits.STREAMS_PER_TOKEN_MAX} with this token: close one, or come "
        f"again later. {UNCHANGED}"
    )
    return Problem(429, "too-many", "Too many streams", text, {"Retry-After": "5"})


def too_busy() -> Problem:
    return _unavailable(f"{limits.REQUESTS_AT_ONCE_MAX} requests are under way. Come again in a second. {UNCHANGED}")


def too_slow() -> Problem:
    return Problem(
        504,
        "too-slow",
        "It took too long",
        f"There was no answer within {limits.REQUEST_S:g} s. {PERHAPS}",
        RETRY_AFTER,
    )


def _unavailable(detail: str) -> Problem:
    return Problem(503, "unavailable", "Not available now", detail, RETRY_AFTER)
