"""Every limit of the floor, with the reason for its size. A name ends in its unit."""

# What is shown.
ORDERS_MAX = 5_000  # books that are kept; of more, the oldest that are closed go first
ORDERS_KEPT_MAX = 10_000  # also of open ones and those that do not add up: a runaway must not fill the memory
PACE_POINTS_MAX = 60  # the sparkline: one a second
WINDOW_CALLS_MAX = 20  # the gateway's latest calls that are drawn
ADRIFT_SHOWN_MAX = 100  # ids; the sum counts all

# How often something is read, and only while somebody looks.
READ_S = 0.25  # four patches a second
NOTES_S = 1.0  # what the product says of a plug
STATE_S = 0.5  # plugs, breaker, the gateway's mode
PACE_DELAY_S = 2  # a second is counted when it is over and its rows can be read
RETRY_S = 1.0  # a database that is away is asked again
OPEN_CALL_S = 60.0  # a call whose end the gateway never wrote down: it was killed
MAILS_MAX = 200  # of one answer

# The streams and requests.
STREAMS_MAX = 16  # pages that listen
HEARTBEAT_S = 15.0
BODY_BYTES_MAX = 16 * 1024  # an order of twenty dishes is 2 KB
BODY_S = 5.0  # for a body to come
HEAD_BYTES_MAX = 16 * 1024
RATE_PER_S = 50.0  # of all that is asked under /floor and of the files, in the long run
BURST_MAX = 200  # a page that opens fetches a few dozen files
CONNECTIONS_MAX = 128
SHUTDOWN_S = 2  # streams never end by themselves

# What is asked.
DISHES_MAX = 20  # lines of an order
QUANTITY_MAX = 20
NAME_CHARS_MAX = 100
PER_S_MAX = 20.0
STREAM_OPEN_MAX = 1_000  # the stream waits while so many orders are open: a killed service must not bury the machine
UNWATCHED_S = 600.0  # then the stream ends: a page that was closed must not fill the disk
OPEN_COUNT_S = 1.0  # how old the count of open orders may be
CUSTOMERS_MAX = 2_000  # of the stream, at once: with a minute each to pay, 20 a second are 1,200
CUSTOMERS_READ_S = 0.5
PATIENCE_S = 70.0  # a delivery waits a minute for its money
STARTS_TRIED_MAX = 50  # numbers tried for an order while somebody else places some, too
KILLED_FOR_S = 8.0  # long enough to see who takes over, short enough to wait for
ADMIN_TIMEOUT_S = 2.0  # the gateway's admin side and the keeper answer at once, or something is wrong

assert BURST_MAX > RATE_PER_S
assert ORDERS_KEPT_MAX > ORDERS_MAX
