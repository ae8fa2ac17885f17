"""Every figure that a process of ours shows: its name, what it says, its labels. docs/operations/metrics.md is held
against this by a test.

Names follow Prometheus: base units, `_total` for what only rises (the exposition adds it). Labels are few and bounded:
shards, databases, participants, breakers, and words of fixed lists; never a saga.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `name` as it is shown, so a counter's ends in `_total`."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """A value of a counter or a gauge; `labels` in the order of the metric's."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


class Distribution(NamedTuple):
    """A histogram: `counts` by upper bound (not cumulated), one more for what was above all of them."""

    metric: Metric
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


# --- orchestrator
BATCHES = Metric("amends_batches_total", "counter", "Batches committed: each is one transaction.")
TURNS = Metric("amends_turns_total", "counter", "Turns of sagas committed.")
COMMITS = Metric("amends_commit_duration_seconds", "histogram", "How long a batch's transaction took.")
BEGUN = Metric("amends_sagas_begun_total", "counter", "Sagas that left the status queued.")
ENDED = Metric("amends_sagas_ended_total", "counter", "Sagas that came to an end, by how.", ("outcome",))
OPEN = Metric("amends_sagas_open", "gauge", "Sagas of this process's shards that are open, by status.", ("status",))
SHARDS = Metric("amends_shards_held", "gauge", "Shards that this process holds.")
LAG = Metric("amends_shard_lag_messages", "gauge", "Messages in Kafka that are in no batch yet.", ("shard",))
CLAIMS = Metric("amends_claims_total", "counter", "Shards claimed, each time under a new epoch.")
TAKEOVERS = Metric("amends_takeovers_total", "counter", "Shards claimed from an owner that was gone or stood still.")
HANDOVERS = Metric("amends_handovers_total", "counter", "Shards given back to another orchestrator that asked.")
SHARDS_LOST = Metric("amends_shards_lost_total", "counter", "Shards that this process lost hold of, or read anew.")
IGNORED = Metric("amends_ignored_messages_total", "counter", "Messages that change nothing: double, late …")
FORGED = Metric("amends_forged_messages_total", "counter", "Answers and words of parents without the right nonce.")
DEAD_LETTERS = Metric("amends_dead_letters_total", "counter", "Messages put aside as dead letters.")
COMPARED = Metric("amends_replays_compared_total", "counter", "Turns that were compared with a replay of their saga.")
MISMATCHES = Metric("amends_replay_mismatches_total", "counter", "Comparisons that found another decision: blocked.")
SKIPPED = Metric("amends_replays_skipped_total", "counter", "Turns that were to be compared, and there was no time.")
SPANS_DROPPED = Metric("amends_span_batches_dropped_total", "counter", "Batches whose spans were given up.")
LIVE = Metric("amends_live_sagas", "gauge", "Sagas in memory.")
STEPS = Metric("amends_local_steps_running", "gauge", "Local steps that have not ended.")
WAITING = Metric("amends_messages_waiting", "gauge", "Messages that were read and are in no batch yet.")

# --- participants
P_BATCHES = Metric("amends_participant_batches_total", "counter", "Transactions of the inbox.", ("participant",))
COMMANDS = Metric(
    "amends_commands_answered_total", "counter", "Answers to commands, by what they say.", ("participant", "result")
)
UNDOS = Metric(
    "amends_undos_answered_total", "counter", "Answers to undos, by what they say.", ("participant", "result")
)
CALLS = Metric("amends_calls_ended_total", "counter", "Calls out, by how they ended.", ("participant", "outcome"))
CALLS_OUT = Metric("amends_calls_in_flight", "gauge", "Calls that are out now.", ("participant",))
CALLS_WAITING = Metric("amends_calls_waiting", "gauge", "Calls that wait for a place.", ("participant",))
BREAKER = Metric(
    "amends_breaker_state", "gauge", "1 for the state that the breaker is in.", ("participant", "breaker", "state")
)
INBOX_DUE = Metric("amends_inbox_rows_due", "gauge", "Inbox rows that a scan will look at.", ("participant",))
IN_DOUBT = Metric("amends_inbox_rows_in_doubt", "gauge", "Those of them whose outcome is unknown.", ("participant",))
EVENTS_PARKED = Metric("amends_inbox_events_parked", "gauge", "Events given up for a person.", ("participant",))
INBOX_DEAD = Metric("amends_inbox_dead_messages", "gauge", "Messages that nobody here can read.", ("participant",))

# --- relays, and whoever is connected to a database with an outbox
RELAY_STATE = Metric("amends_relay_state", "gauge", "1 for the state that the relay is in.", ("database", "state"))
RELAY_EPOCH = Metric("amends_relay_epoch", "gauge", "The lease's epoch when this relay had it last.", ("database",))
ROWS_SENT = Metric("amends_relay_rows_sent_total", "counter", "Outbox rows that Kafka acknowledged.", ("database",))
DELIVERIES_FAILED = Metric("amends_relay_deliveries_failed_total", "counter", "Rows not delivered.", ("database",))
ROWS_PARKED = Metric("amends_relay_rows_parked_total", "counter", "Rows put into outbox_dead.", ("database",))
ROWS_OUT = Metric("amends_relay_rows_in_flight", "gauge", "Rows sent and not acknowledged.", ("database",))
KEYS_PARKED = Metric("amends_relay_keys_parked", "gauge", "Keys whose rows are parked.", ("database",))
TOPICS_PARKED = Metric("amends_relay_topics_parked", "gauge", "Topics whose rows are parked.", ("database",))
WAL = Metric("amends_replication_slot_retained_bytes", "gauge", "WAL that the relay's slot keeps.", ("database",))
OUTBOX_ROWS = Metric("amends_outbox_rows", "gauge", "Rows in the outbox, 10000 if more.", ("database",))
OUTBOX_AGE = Metric("amends_outbox_oldest_age_seconds", "gauge", "Age of the oldest of them.", ("database",))
OUTBOX_DEAD = Metric("amends_outbox_dead_rows", "gauge", "Rows in outbox_dead, 10000 if more.", ("database",))

# --- every process
READY = Metric("amends_ready", "gauge", "1 if /ready says 200.")
LOOKS_FAILED = Metric(
    "amends_figures_failed_total", "counter", "Looks at the database that came to nothing.", ("database",)
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
