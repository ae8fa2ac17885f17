"""Every limit that is not a setting, with the reason for its size; how they depend on each other is asserted below.

A name ends in its unit: `_S` seconds, `_BYTES`, `_CHARS`, `_MAX` a count.
"""

POSTGRES_VERSION_MIN = 150_000  # as the driver tells it: 15; older ones are not tested
# A broker does not tell its version; this setting came with 3.7, as what we need of it did.
KAFKA_SETTING_OF_3_7 = "group.coordinator.rebalance.protocols"

MESSAGE_BYTES_MAX = 900_000  # payload, key and headers: outbox_relay's ROW_BYTES_MAX, to which a test holds it
MESSAGE_OVERHEAD_BYTES_MAX = 32 * 1024  # of these, key, headers and what we put around a payload
# So that an undo fits, which carries the command and its reply.
PAYLOAD_BYTES_MAX = (MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES_MAX) // 2
PAYLOAD_DEPTH_MAX = 50  # Messages in Messages in …
PAYLOAD_ITEMS_MAX = 100_000  # values in one message: a list of empty lists costs 56 times its bytes in memory
PAYLOAD_UNWALKED_BYTES_MAX = 16 * 1024  # up to here a plain schema can't make more than 1-2 MB out of its bytes
HEADER_BYTES_MAX = 1_024
ERROR_TEXT_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 8_000
SAGA_ID_CHARS_MAX = 200
NAME_CHARS_MAX = 200  # types of messages, sagas and failures; the outbox column holds 255

# One turn of one saga.
TURN_CALLBACKS_MAX = 100_000  # sleep(0) in a loop would never be quiet
TURN_OPERATIONS_MAX = 1_000
TURN_SECONDS_MAX = 2.0  # interrupted with TurnTooLong in the saga
TURN_SECONDS_DEADLY = 5.0  # the process exits: nothing in Python could stop it (a C call that holds the GIL)
TURN_SECONDS_WARN = 0.05  # said in the log: everybody else waits meanwhile

# One batch.
BATCH_TURNS_MAX = 1_000
BATCH_TURNS_PER_SAGA_MAX = 50  # one chatty saga must not fill the batch
BATCH_REPLAYS_MAX = 100  # sagas that are not in memory; after a takeover that is everybody whose answer lies ready
BATCH_BYTES_MAX = 8 * 1024 * 1024  # read, or to be written: a batch that has so much is committed as it is

# Comparing with a replay in production (rule 18).
REPLAY_EVERY_TURNS = 1_000  # what the setting is if nobody says
REPLAY_CPU_SHARE_MAX = 0.05  # of one CPU, however much there is to compare
REPLAYS_WAITING_MAX = 100  # sagas; whoever comes when so many wait is not compared this time

# Ownership.
LEASE_S = 3.0  # a worker whose cycle counter stands still this long (while the database answers) is taken over
HEARTBEAT_S = 0.5
CLAIM_LOCK_TIMEOUT_S = 1.0
REBALANCE_DEBOUNCE_S = 1.0

# Relay; its own limits are in outbox_relay.limits.
OUTBOX_SENT_KEPT_S = 86_400.0  # outbox_relay's SENT_KEPT_S, to which a test holds it
OUTBOX_HEALTHY_S = 5.0  # an outbox row older than this holds back the timers of its shard (rule 9)

# Retry of the runtime's own messages.
RESEND_FIRST_S = 60.0  # a command without an answer is sent again under its key and number (rule 13): its reply is lost
RESEND_MAX_S = 3_600.0  # doubled up to this: a participant that is down for a day gets some thirty copies
UNDO_FIRST_DELAY_S = 1.0
UNDO_MAX_DELAY_S = 60.0
UNDO_REPEAT_S = 20.0  # an undo without an answer is sent again after this long
UNDO_ATTEMPTS_MAX = 8  # definite refusals of an undo before its saga is stuck

# Participants.
LOCAL_BATCH_MAX = 200
LOCAL_TRANSIENT_ATTEMPTS_MAX = 5
INBOX_HORIZON_S = 30 * 86_400  # rows of settled operations are purged after this at the latest
COMMAND_EXPIRES_S = 86_400.0  # a command that no participant began within a day is not begun any more

# Lists of sagas, a page of one request.
LISTED_DEFAULT = 50
LISTED_MAX = 1_000  # sagas a page: some 300 KB of JSON
LISTED_LOOKED_AT_MAX = 10_000  # sagas, for a page that a filter leaves nearly empty: some milliseconds of Postgres

# Admission (rule 14), a shard.
SAGAS_AT_WORK_MAX = 100_000  # what the setting is if nobody says: each costs its owner some 300 bytes even when evicted
ADMITTED_AT_ONCE_MAX = 200  # queued sagas that begin in one batch: replies must not wait behind them

# The schema registry, where SCHEMA_REGISTRY_URL is set.
REGISTRY_TIMEOUT_S = 5.0  # one request: on a thread of its own, where nobody waits for it but what needs the schema
REGISTRY_RETRY_FIRST_S = 0.2  # doubled up to the next: a registry that restarts is noticed soon
REGISTRY_RETRY_MAX_S = 5.0
REGISTRY_SAY_EVERY_S = 30.0  # in the log, while it is away
SCHEMA_ID_UNKNOWN_S = 60.0  # an id that the registry did not know is asked for again: it may be registered since
SCHEMA_IDS_UNKNOWN_MAX = 20_000  # of these, remembered: more than there are messages between reading and decoding

# Memory.
LIVE_SAGAS_MAX = 20_000  # parked coroutines kept in memory; about 4 KB each
LIVE_IDLE_S = 600.0
# New objects before Python's garbage collector looks, in an orchestrator or a participant. Its own 700 come with a few
# turns, and looking so often was a fifth of the CPU. What sagas leave behind is mostly freed without it, and each look
# walks over all that has come since: a saga that waits is some 50 objects, 2,000 that begin at once are one look.
COLLECT_AFTER = (100_000, 10, 10)
MOVED_KEPT_S = 120.0  # which sagas moved, while somebody watches: how long ago a lost stream can still be taken up
WATCHER_FRESH_S = 15.0  # who watches says so again within this; what nobody watches any more is not written down
WATCHER_FORGOTTEN_S = 3_600.0
ANNOUNCED_MAX = 20_000  # ends of sagas that clients were not told of yet: who is not told looks by himself
INBOUND_QUEUE_MAX = 10_000  # messages that were read and are in no batch yet
INBOUND_BYTES_MAX = 32 * 1024 * 1024  # of these; messages of the largest size would be gigabytes

# Spans, where OTEL_EXPORTER_OTLP_ENDPOINT is set.
SPANS_PER_REQUEST_MAX = 512  # about 300 KB: collectors take 4 MB and more
SPAN_SEND_TIMEOUT_S = 5.0
SPAN_CPU_SHARE_MAX = 0.15  # of one CPU, which the turns need: some 4,000 spans a second; the rest waits in its table
SPAN_TURNS_MAX = 2_000  # told at once: each may end several spans
SPAN_ATTRIBUTES_MAX = 4_096  # encoded ones that are kept: most come again and again; about 1 MB
SPAN_OPERATIONS_MAX = 40_000  # of sagas that go on, so that their journals need not be read again: about 20 MB
SPAN_TAKEOVERS_MAX = 1_000  # of a shard: the latest
SPAN_BATCHES_WAITING_MAX = 200_000  # a shard: what a dead collector may cost in disk, some 50 MB

assert SCHEMA_IDS_UNKNOWN_MAX > INBOUND_QUEUE_MAX, "what was read as unknown would be forgotten before it is decoded"
assert LISTED_DEFAULT <= LISTED_MAX < LISTED_LOOKED_AT_MAX, "a page could not be filled"
assert WATCHER_FRESH_S * 4 <= MOVED_KEPT_S, "a stream could not be taken up for as long as its watcher counts"
assert HEARTBEAT_S * 3 <= LEASE_S, "two lost heartbeats must not cost the lease"
assert RESEND_FIRST_S > OUTBOX_HEALTHY_S, "commands would be copied because the relay is slow"
assert COMMAND_EXPIRES_S < INBOX_HORIZON_S, "a participant could have forgotten what is sent to it again"
assert TURN_SECONDS_WARN < TURN_SECONDS_MAX < TURN_SECONDS_DEADLY
assert BATCH_BYTES_MAX <= INBOUND_BYTES_MAX // 2, "a batch could not be filled from what lies ready"
assert PAYLOAD_BYTES_MAX * 2 + MESSAGE_OVERHEAD_BYTES_MAX <= MESSAGE_BYTES_MAX
