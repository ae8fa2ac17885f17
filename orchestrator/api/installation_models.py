"""What the API answers of what stands around the sagas."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from orchestrator.api.models import Told


class Caller(Told):
    """`name`: the token's; `local` where there are no tokens."""

    name: str
    role: Literal["read", "operate"]


class Pending(Told):
    topic: str
    partition: int
    count: int
    age_s: float


class DeadRow(Told):
    """`scope`: what it parks; `behind`: it waits behind another one."""

    seq: int
    topic: str
    key: str
    type: str
    kind: str | None
    scope: str
    error: str
    died_at: datetime
    redrive_asked: bool


class Outbox(Told):
    """What waits to be sent, counted up to a limit, and what Kafka did not take."""

    waiting: int
    oldest_age_s: float | None
    partitions: list[Pending]
    dead: int
    dead_rows: list[DeadRow]
    next_after: int | None = Field(description="`after` of the next dead rows; null: there are no more.")


class Breaker(Told):
    """half_open: its one trial call is out."""

    participant: str
    name: str
    state: Literal["closed", "open", "half_open"]
    opened_at: datetime | None
    reopens_at: datetime | None
    openings: int
    trials: int


class Service(Told):
    """One service's database. `error`: why its breakers are not known now."""

    name: str
    breakers: list[Breaker]
    error: str | None


class Breakers(Told):
    """Breakers live in the databases of services: of those that AMENDS_API_SERVICE_DATABASES names."""

    services: list[Service]
    note: str


class Worker(Told):
    """`silent_s`: since its last beat."""

    worker: str
    name: str
    pid: int
    draining: bool
    started_at: datetime
    beat_at: datetime
    silent_s: float


class Workers(Told):
    workers: list[Worker]


class Shard(Told):
    shard: int
    epoch: int
    owner: str | None
    claimed_at: datetime | None


class Shards(Told):
    shards: list[Shard]


class Health(Told):
    """ok: the API and its database answer."""

    status: Literal["ok"]
