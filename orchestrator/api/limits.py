"""Every limit of the HTTP API, with the reason for its size. A name ends in its unit."""

from orchestrator import limits

BODY_BYTES_MAX = limits.PAYLOAD_BYTES_MAX + 16 * 1024  # the largest input that a saga takes, and what stands around it
REQUESTS_AT_ONCE_MAX = 64  # more than the client has connections; what comes above that would only wait for one
REQUEST_S = 15.0  # longer than the client waits for a connection, so that its own answer says what is missing
RATE_PER_S = 50.0  # of one token, in the long run: a person and his dashboard, or a service that starts sagas
BURST_MAX = 200  # of one token at once: a dashboard that opens
OUTLINES_DEFAULT = 50
STREAMS_MAX = 64  # open at once: each is a connection, and the news are read once for all
STREAMS_PER_TOKEN_MAX = 16  # a person with some tabs; who opens more has lost the others
STREAM_BEAT_S = 15.0  # between two signs of life, so that nobody in between takes a quiet stream for a dead one
STREAM_RETRY_MS = 1_000  # how long a browser waits before it connects again
CONNECTIONS_MAX = 256  # open ones, of which few ask at once
HEAD_BYTES_MAX = 32 * 1024  # of a request line and headers; a long id, a cursor and a token are 4 KB
KEEP_ALIVE_S = 5  # of a connection on which nothing is asked
SHUTDOWN_S = 5  # for requests that are under way at SIGTERM
JOURNAL_TURNS_DEFAULT = 100
JOURNAL_TURNS_MAX = 500  # of one page
JOURNAL_BYTES_MAX = 4 * 1024 * 1024  # of one page: a turn may hold a command of the largest size
DEAD_ROWS_MAX = 100  # of one answer: the rest is behind `after`
VERBS_DEFAULT = 50
VERBS_MAX = 500  # of one page of the audit: a note may have some thousand characters
TOKENS_MAX = 100  # each is compared with what a request brought
TOKEN_CHARS_MAX = 200  # of what a request may bring: ours have 50
TOKEN_BYTES = 32  # of chance: not to be guessed, so a plain SHA-256 of it is safe to show
TOKEN_NAME_CHARS_MAX = 50

assert STREAMS_MAX < CONNECTIONS_MAX // 2, "streams would take the places of requests"
assert REQUEST_S > 10.0, "a client waits so long for a connection by default"
assert BURST_MAX > REQUESTS_AT_ONCE_MAX
