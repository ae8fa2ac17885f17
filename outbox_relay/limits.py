"""Every limit of the relay that is not a setting, with the reason for its size. A name ends in its unit."""

# A row.
ROW_BYTES_MAX = 900_000  # payload, key and headers; librdkafka's message.max.bytes is 1,000,000 with its framing
TYPE_CHARS_MAX = 255  # the column
HEADER_CHARS_MAX = 4_000
KEY_CHARS_MAX = 4_000
TOPIC_CHARS_MAX = 249  # Kafka's own

# Who sends. All in monotonic seconds of one process; no clocks are compared.
LEASE_S = 4.2  # a holder whose beat stands still this long, while the database answers promptly, is taken over
BEAT_S = 0.4
STANDBY_LOOK_S = 0.15
BEATS_LOST_MAX = 100  # by a crash of Postgres: written without waiting, flushed after 30 s at most (wal_writer_delay)
PROMPT_ANSWER_S = 1.0  # a database that answers later than this expires nobody
MESSAGE_TIMEOUT_S = 2.9  # librdkafka gives up a message; the net for a process that was stopped
SEND_WINDOW_S = 1.25  # nothing is given to the producer later than this after the last beat
DELIVERY_STALL_S = 2.5  # the oldest message is unanswered: purge everything at once, so that no later one passes it
HOLD_BACK_S = 1.25  # the oldest message is unanswered: give the producer nothing more, it would only be purged
OPENED_S = 600.0  # a broker knows a silent producer for a day (producer.id.expiration.ms), or less if it was told so
SLOW_START_ROWS = 50  # in the producer after a failure; more with each ack, so that a slow broker gets somewhere

# Memory.
HELD_ROWS_MAX = 20_000  # rows in memory and in the producer's queue
HELD_BYTES_MAX = 64 * 1024 * 1024
TOLD_ROWS_MAX = 20_000  # rows that the stream has told and nobody has taken yet; more are shed and read from the table
TOLD_BYTES_MAX = 32 * 1024 * 1024
STREAM_LAG_BYTES_MAX = 4 * 1024 * 1024  # WAL that the stream may be behind when it takes over: some 0.1 s of decoding

# Reading the table.
SCAN_ROWS_MAX = 2_000
SCAN_BYTES_MAX = 16 * 1024 * 1024
POLL_BUSY_S = 0.002
POLL_IDLE_S = 0.05
FLOOR_MARK_S = 1.0  # how often the floor may rise; each costs a transaction id, and only while rows come
FULL_SCAN_S = 5.0  # backstop of the floor: a nextval taken before its transaction had an id
PENDING_ROWS_MAX = 10_000  # how far the ages of pending rows are counted

# Deleting after the ack.
DELETE_ROWS_MAX = 2_000
DELETE_DELAY_S = 0.03  # gathers acks; nothing waits for a delete
DELETE_RETRY_S = 0.2  # decoding ran ahead of visibility: ask again

# The slot.
WAL_SENDER_TIMEOUT_S = 4.0  # a stopped relay's slot is free again after this long
STATUS_S = 1.0  # what we tell the walsender at least this often; a third of its patience or less
CONFIRM_S = 1.0
SLOT_RETRY_FIRST_S = 0.2  # the slot could not be made or followed: polling goes on meanwhile
SLOT_RETRY_MAX_S = 60.0

# Housekeeping.
KEEP_HOUSE_S = 1.0
TOPICS_REFRESH_S = 5.0
SECOND_LOOK_S = 0.5  # after a topic was not there: a broker hears of a new one from its controller
SENT_DAYS_AHEAD = 2
SENT_KEPT_S = 86_400.0
RESEND_ROWS_MAX = 1_000
EXTERNAL_ROWS_MAX = 20_000  # rows that are noted at a time and wait for the slot's word
RESTART_FIRST_S = 0.2
RESTART_MAX_S = 5.0
SILENT_S = 5.0  # no answer from Postgres for so long is said to whoever asks whether we work; a beat comes every BEAT_S
STOP_S = 5.0  # a graceful stop waits this long for the acks of what is in the producer

assert DELIVERY_STALL_S < MESSAGE_TIMEOUT_S, "single messages would time out and later ones of their key pass them"
assert SEND_WINDOW_S + MESSAGE_TIMEOUT_S < LEASE_S, "a deposed relay could still deliver after its successor began"
# Its last beat is seen a look late, its standing still another, and the lock that is freed then a third.
assert LEASE_S + STANDBY_LOOK_S * 3 < 5.0, "a standby is promised within five seconds of SIGSTOP"
assert BEAT_S * 3 < SEND_WINDOW_S, "two late beats must not stop the sending"
assert STATUS_S * 3 < WAL_SENDER_TIMEOUT_S
