"""What the API takes and answers. The document (docs/reference/openapi.json) is made of these."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from orchestrator import limits
from orchestrator.client.answers import Status
from orchestrator.core.lifecycle import Verb
from orchestrator.story.desk import NOTED, Phase

# Regular expressions of what can travel: no control characters; a note may have lines.
NAME = r"^[^\x00-\x1f\x7f-\x9f]*$"
NOTE = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
INT_MAX = 2**31 - 1
BIGINT_MAX = 2**63 - 1


class Asked(BaseModel):
    """What a request brings: a field that nobody knows is an error, not a silence."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """What an answer has; made of the client's dataclasses."""

    model_config = ConfigDict(from_attributes=True)


class Start(Asked):
    """Start a saga of this type. Without a version: the code's, else the latest that was seen, else 1."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "checkout", "input": {"order_id": "7", "items": ["pan"]}}]}
    )

    type: str = Field(min_length=1, max_length=limits.NAME_CHARS_MAX, pattern=NAME)
    version: int | None = Field(default=None, ge=1, le=INT_MAX)
    input: Any = Field(default=None, description="The saga's input, as JSON. Checked where the code is at hand.")


class Send(Asked):
    """A message for a saga, by its wire name. One `message_id` is delivered once; without it, each request is one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "PaymentSettled", "body": {"reference": "r-1"}, "message_id": "webhook-812"}]
        }
    )

    type: str = Field(min_length=1, max_length=limits.NAME_CHARS_MAX, pattern=NAME)
    body: dict[str, Any]
    channel: str = Field(default="", max_length=limits.NAME_CHARS_MAX, pattern=NAME)
    message_id: str | None = Field(default=None, min_length=1, max_length=limits.NAME_CHARS_MAX, pattern=NAME)


class Give(Asked):
    """A verb for a saga. `note`: why, for those who read it later; terminate, skip and fail need one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"verb": "skip", "note": "refunded by hand, ticket 812"}],
            "if": {"properties": {"verb": {"enum": [*sorted(NOTED)]}}},
            "then": {"properties": {"note": {"pattern": r"\S"}}, "required": ["note"]},
        }
    )

    verb: Verb
    note: str = Field(default="", max_length=limits.ERROR_TEXT_CHARS_MAX, pattern=NOTE)


class Problem(BaseModel):
    """RFC 9457. `detail`: what happened, what is unchanged, what to do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:amends:saga-not-found",
                    "title": "No such saga",
                    "status": 404,
                    "detail": "no saga has the id order-7 (yet: …)",
                    "instance": "/v1/sagas/order-7",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str


class Started(Told):
    """`created` false: it was there already, with the same input. null: it is on its way to another database."""

    id: str
    created: bool | None


class SagaRow(Told):
    id: str
    type: str
    version: int
    status: Status
    shard: int
    started_at: datetime
    ended_at: datetime | None
    error: str | None = Field(description="Why it ended, is stuck or is blocked.")


class SagaList(Told):
    """The newest first. There may be fewer than were asked for and still a cursor: enough was looked at."""

    sagas: list[SagaRow]
    next_cursor: str | None = Field(description="Where the next page begins; null: there are no more.")


OperationState = Literal["open", "succeeded", "failed", "unknown", "settled"]


class Undo(Told):
    """How an operation is taken back. failed: it was refused, a person is asked; left: it was given up."""

    state: Literal["open", "undone", "failed", "left"]
    attempts: int
    error: str | None


class Operation(Told):
    """`settled`: nobody waited for it any more. `was_unknown`: once nobody knew whether it had happened."""

    seq: int
    kind: str
    name: str
    state: OperationState
    attempts: int
    was_unknown: bool
    undo: Undo | None
    child_id: str | None


class Seam(Told):
    """Another process took over. `seq`: the operation that was the latest then; null: none was begun."""

    takeover_id: str
    seq: int | None
    at: datetime
    worker: str
    epoch: int


class Outline(SagaRow):
    """What a list draws of a saga. `turns` only grows: what has fewer than you hold is older."""

    parent_id: str | None
    turns: int
    waiting_for: list[str]
    undone_because: str | None = Field(description="While it is being undone: why. `error` says it of what has ended.")
    deadline: datetime | None = Field(description="When it is woken, if nothing comes before.")
    ops: list[Operation]
    pivot_seq: int | None = Field(description="What is numbered higher came after the pivot.")
    seams: list[Seam]


class Outlines(Told):
    """The newest first. There may be fewer than were asked for and still a cursor: enough was looked at."""

    outlines: list[Outline]
    next_cursor: str | None = Field(description="Where the next page begins; null: there are no more.")


class Saga(Outline):
    """One saga, all of it read at one instant."""

    input: Any
    result: Any
    values: dict[str, Any] = Field(description="What it last `set`.")
    left_undone: list[str]


class Opened(Told):
    """From here on nothing is missed: load a list after it."""


class Takeover(Told):
    """An orchestrator went on with what others had. `takeover_ids`: as seams have them, in the order of `shards`."""

    worker: str
    taken_at: datetime
    shards: list[int]
    takeover_ids: list[str]
    before: list[str] = Field(description="Who had them, in the same order.")


class Reset(Told):
    """Something may have moved unseen: load again what you show, after the `open` that follows."""

    why: str


class Turn(Told):
    """`body`: the entry that came in, then what was decided."""

    pos: int
    body: list[dict[str, Any]]


class Journal(Told):
    turns: list[Turn]
    next_pos: int | None = Field(description="`from_pos` of the next page; null: this was the last turn so far.")


class Attempt(Told):
    """One attempt of an operation or, with `undo_of`, of an undo. `to` null: no answer yet, or none that was taken."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    op: str
    seq: int
    undo_of: int | None
    number: int
    from_: datetime = Field(alias="from")
    to: datetime | None
    outcome: str
    was_unknown: bool = Field(description="It went on without anybody knowing whether this attempt took effect.")
    note: str
    worker: str | None = Field(description="Who owned the saga when the attempt was decided.")


class Trace(Told):
    """In the order in which they began."""

    attempts: list[Attempt]


class Value(Told):
    key: str
    value: Any


class Sent(Told):
    id: str
    type: str
    channel: str


class GivenVerb(Told):
    """A word that a saga was given. `outcome` null: no orchestrator has read it yet."""

    verb_no: int
    saga_id: str
    verb: str
    note: str
    given_by: str = Field(description="The database's login; behind a /, whose token it came with.")
    given_at: datetime
    done_at: datetime | None
    outcome: str | None


class Audit(Told):
    """The oldest first."""

    verbs: list[GivenVerb]


class AuditPage(Told):
    """The newest first. `next_before`: before which the next page is; null: there are no more."""

    verbs: list[GivenVerb]
    next_before: int | None


class Accepted(Told):
    """It is written down; what came of it will stand at /v1/verbs/{verb_no}."""

    verb_no: int


class Preview(Told):
    """`left`: what would hold in the world once the verb has done its work."""

    verb: Verb
    fits: bool
    why_not: str
    does: str
    left: list[str]
    needs_note: bool


class Desk(Told):
    """What a person must know who decides. `standing`: done, or perhaps, and not taken back."""

    id: str
    status: Status
    since: datetime | None = Field(description="Since when it waits for a person; null: it does not.")
    phase: Phase
    why: str | None
    standing: list[Operation]
    taken_back: list[Operation]
    next: list[str]
    verbs: list[Preview]
    audit: list[GivenVerb]


VerbNo = Annotated[int, Path(ge=1, le=BIGINT_MAX, description="Of the answer to the verb.", examples=[1])]
