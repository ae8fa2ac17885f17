-- A participant's tables, in the service's own database. Each has one owner among the modules of
-- orchestrator/participant, named in its comment. The outbox tables (outbox_relay/sql) are there before this runs.

-- One row for each operation that this service was asked for: what came of it, and who is at it now.
CREATE TABLE amends.inbox (
    key text PRIMARY KEY,                   -- saga_uid:run:seq
    service text NOT NULL,                  -- the participant: two may share a database
    saga_id text NOT NULL,
    type text NOT NULL,                     -- of the command
    body_hash bytea NOT NULL,               -- SHA-256 of the command: the same key with another body is a conflict
    body bytea,                             -- the command as it came, while somebody may have to call out for it
    state text NOT NULL DEFAULT 'absent' CHECK (state IN (
        'absent',                           -- only inside the transaction that inserts the row in order to lock it
        'running', 'retryable', 'done', 'failed', 'undoing', 'undone', 'refused')),
    in_doubt boolean NOT NULL DEFAULT false,    -- some attempt ended and nobody knows how
    recheck boolean NOT NULL DEFAULT false,     -- a second lookup is due after an undo in doubt
    attempt int NOT NULL DEFAULT 0,         -- the newest that was asked for and counts
    errors int NOT NULL DEFAULT 0,          -- exceptions of a local handler that were neither Failure nor Transient
    run int NOT NULL DEFAULT 0,             -- rises whenever somebody goes outside for this row: only this run ends it
    deadline timestamptz,                   -- of that run; NULL: nobody is outside
    holder int,                             -- pid of its session here; once that has ended, somebody looks early
    due_at timestamptz,                     -- when a scan has to look at the row
    quiet_at timestamptz,                   -- no request of a given up attempt is on its way any more
    reply bytea,                            -- the answer to the command, if it is known that it happened
    recorded boolean NOT NULL DEFAULT false,        -- `record` has run for this reply
    undo_recorded boolean NOT NULL DEFAULT false,   -- the undo's `record` has run for this reply
    problem bytea,                          -- why it did not happen, or the undo did not (a ProblemRecord)
    problem_type text,
    problem_text text,                      -- the same for people
    reply_to text NOT NULL,
    nonce text NOT NULL,                    -- proof for the answers; came with the command
    traceparent text,                       -- of the command: an undo's span links to it
    undo_attempt int NOT NULL DEFAULT 0,    -- an undo was asked for; with `running` it waits
    undo_traceparent text,
    settled boolean NOT NULL DEFAULT false, -- the saga is terminal
    expires_at timestamptz NOT NULL,        -- of every attempt and undo; then nothing old can come any more
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX inbox_due ON amends.inbox (service, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX inbox_settled ON amends.inbox (expires_at) WHERE settled;
CREATE INDEX inbox_created ON amends.inbox (created_at);
COMMENT ON TABLE amends.inbox IS 'participant.inbox';

-- Events that came, once each: `done` ones only against doubles, the others are still to be handled.
CREATE TABLE amends.inbox_events (
    participant text NOT NULL,
    event_id uuid NOT NULL,
    arrival bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    state text NOT NULL CHECK (state IN ('done', 'waiting', 'running', 'parked')),
    payload bytea,                          -- NULL when it is done
    traceparent text,
    attempts int NOT NULL DEFAULT 0,
    run int NOT NULL DEFAULT 0,
    holder int,                             -- pid of the session that claimed it; ended: a local handler left no trace
    due_at timestamptz,                     -- waiting: the next attempt; running: the deadline
    error text,
    arrived_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (participant, event_id)
) WITH (fillfactor = 80);
CREATE INDEX inbox_events_open ON amends.inbox_events (participant, topic, key, arrival)
    WHERE state IN ('waiting', 'running');
CREATE INDEX inbox_events_parked ON amends.inbox_events (participant, arrived_at) WHERE state = 'parked';
CREATE INDEX inbox_events_arrived ON amends.inbox_events (arrived_at);
COMMENT ON TABLE amends.inbox_events IS 'participant.inbox_events';

-- Messages that nobody here can read or store. The offset has moved on; they are shown, and may be sent again.
CREATE TABLE amends.inbox_dead (
    participant text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    key text,
    headers text NOT NULL,                  -- JSON
    payload bytea,
    error text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (participant, topic, partition, "offset", at)
);
COMMENT ON TABLE amends.inbox_dead IS 'participant.dead';

CREATE TABLE amends.breakers (
    participant text NOT NULL,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open')),  -- half-open: open, with a trial out
    opened_at timestamptz,
    reopens_at timestamptz,                 -- a trial call may go out from then on
    trial_by text,                          -- the one caller in all processes that may try
    trial_until timestamptz,                -- then its holder counts as dead
    openings bigint NOT NULL DEFAULT 0,
    trials bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (participant, name)
);
COMMENT ON TABLE amends.breakers IS 'participant.breaker';
