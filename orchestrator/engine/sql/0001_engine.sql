-- The orchestrator's tables. Each has one owner among the modules of orchestrator/engine, named in its comment.
-- The outbox tables (outbox_relay/sql) are there before this runs.

CREATE TABLE amends.installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    shards int NOT NULL CHECK (shards > 0),
    topic text NOT NULL,                -- the topic `sagas`, with its prefix
    nonce_secret bytea NOT NULL,        -- never leaves this database but into the memory of an orchestrator
    system_identifier text,             -- of the Postgres that we know; another one, or an earlier timeline: restored
    timeline int,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE amends.installation IS 'engine.recovery';

CREATE TABLE amends.shards (
    shard int PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,    -- rises with every change of owner
    owner uuid,                         -- minted by each claim: epochs may go back with a restored backup, this can't
    worker uuid,                        -- whose claim it was
    batch_no bigint NOT NULL DEFAULT 0, -- one more with each commit: tells whether a COMMIT without an answer happened
    next_offset bigint NOT NULL DEFAULT 0,
    topic_id text,                      -- of the topic that next_offset counts in
    asked_by uuid,                      -- a worker that should own it and asks the live owner to give it back
    probing bigint,                     -- the saga whose turn runs alone after an unclean end
    claimed_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE amends.shards IS 'engine.fence';

CREATE TABLE amends.workers (
    worker uuid PRIMARY KEY,
    name text NOT NULL,
    pid int NOT NULL,
    backends jsonb NOT NULL DEFAULT '[]',  -- [[pid, backend_start], ...]: ended before a shard is taken from it
    cycle bigint NOT NULL DEFAULT 0,       -- stands still when the main loop does
    draining boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE amends.workers IS 'engine.shards';

CREATE TABLE amends.sagas (
    saga_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    uid uuid NOT NULL UNIQUE,
    type text NOT NULL,
    version int NOT NULL,
    shard int NOT NULL,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN (
        'queued', 'running', 'compensating', 'stuck', 'blocked', 'completed', 'failed', 'cancelled', 'terminated')),
    input text NOT NULL,
    input_hash bytea NOT NULL,          -- SHA-256 of type and input: the same id with another one is refused
    parent_id text,
    parent_key text,                    -- the operation that this child is
    parent_reply_to text,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    result text,                        -- JSON
    problem text,                       -- JSON of a Problem: why it ended, is stuck or is blocked
    left_undone text[] NOT NULL DEFAULT '{}',
    traceparent text
) WITH (fillfactor = 70);
CREATE INDEX sagas_open ON amends.sagas (shard, saga_no)
    WHERE status IN ('queued', 'running', 'compensating', 'stuck', 'blocked');
CREATE INDEX sagas_parked ON amends.sagas (status, saga_no) WHERE status IN ('stuck', 'blocked');
COMMENT ON TABLE amends.sagas IS 'engine.sagas';

-- One row a turn. `body` is a JSON array: the entry that came in, then what was decided. `wake_us` is when the saga
-- wants to be woken next, if nothing comes (microseconds since the epoch): so there is no table of timers.
CREATE TABLE amends.journal (
    saga_no bigint NOT NULL,
    pos int NOT NULL,
    wake_us bigint,
    body text NOT NULL,
    PRIMARY KEY (saga_no, pos)
);
COMMENT ON TABLE amends.journal IS 'engine.journal';

CREATE VIEW amends.journal_entries AS
    SELECT s.id, j.saga_no, j.pos, e.n::int AS n, e.value AS entry
    FROM amends.journal j
    JOIN amends.sagas s USING (saga_no)
    CROSS JOIN LATERAL json_array_elements(j.body::json) WITH ORDINALITY AS e(value, n);

-- What a saga `set`, every one, in order.
CREATE TABLE amends.saga_values (
    saga_no bigint NOT NULL,
    key text NOT NULL,
    pos int NOT NULL,
    n int NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (saga_no, key, pos, n)
);
COMMENT ON TABLE amends.saga_values IS 'engine.sagas';

-- Messages that came before their saga.
CREATE TABLE amends.mailbox (
    saga_id text NOT NULL,
    message_id uuid NOT NULL,
    arrival bigint GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    channel text NOT NULL DEFAULT '',
    body text NOT NULL,
    arrived_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga_id, message_id)
);
COMMENT ON TABLE amends.mailbox IS 'engine.mail';

CREATE TABLE amends.dead_letters (
    letter bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    kind text,
    saga_id text,
    type text,
    headers text NOT NULL,              -- JSON
    payload bytea,
    error text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    redriven_at timestamptz,
    UNIQUE (topic, partition, "offset")
);
COMMENT ON TABLE amends.dead_letters IS 'engine.mail';

-- Control verbs: read before any message, so that no backlog delays them. The row stays as the audit trail.
CREATE TABLE amends.verbs (
    verb_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id text NOT NULL,
    shard int NOT NULL,
    verb text NOT NULL CHECK (verb IN ('cancel', 'terminate', 'retry', 'skip', 'fail', 'unblock')),
    note text NOT NULL DEFAULT '',
    given_by text NOT NULL DEFAULT session_user,
    given_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    outcome text                        -- what came of it, also when it was refused
);
CREATE INDEX verbs_open ON amends.verbs (shard, verb_no) WHERE done_at IS NULL;
COMMENT ON TABLE amends.verbs IS 'engine.verbs';

-- Counted, not journaled (rule 2): replies to nothing open, late, double, forged.
CREATE TABLE amends.ignored (
    reason text PRIMARY KEY,
    count bigint NOT NULL DEFAULT 0,
    last_at timestamptz,
    last_saga_id text
);
COMMENT ON TABLE amends.ignored IS 'engine.mail';

-- Each change of a shard's owner, for `amends trace` and doctor. A trigger on `epoch` alone: a batch does not fire it.
CREATE TABLE amends.takeovers (
    shard int NOT NULL,
    epoch bigint NOT NULL,
    worker uuid,
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, epoch, at)      -- after a restored backup an epoch may come again
);
COMMENT ON TABLE amends.takeovers IS 'engine.fence';

CREATE FUNCTION amends.note_takeover() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO amends.takeovers (shard, epoch, worker, name)
    VALUES (NEW.shard, NEW.epoch, NEW.worker,
        coalesce((SELECT w.name FROM amends.workers w WHERE w.worker = NEW.worker), 'unknown'));
    RETURN NULL;
END $$;
CREATE TRIGGER note_takeover AFTER UPDATE OF epoch ON amends.shards
    FOR EACH ROW WHEN (OLD.epoch <> NEW.epoch) EXECUTE FUNCTION amends.note_takeover();

-- What was committed and whose spans are not exported yet: an outbox for traces, one row a batch and shard.
CREATE TABLE amends.span_queue (
    shard int NOT NULL,
    batch_no bigint NOT NULL,
    saga_nos bigint[] NOT NULL,
    positions int[] NOT NULL,
    PRIMARY KEY (shard, batch_no)
);
COMMENT ON TABLE amends.span_queue IS 'engine.spans';

-- A start in the caller's transaction. `created` false: it was there already; `matches` false: with another input.
CREATE FUNCTION amends.start_saga(
    p_id text, p_uid uuid, p_type text, p_version int, p_input text, p_input_hash bytea,
    p_shard int, p_topic text, p_payload bytea, p_traceparent text,
    OUT created boolean, OUT matches boolean
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO amends.sagas (id, uid, type, version, shard, input, input_hash, traceparent)
    VALUES (p_id, p_uid, p_type, p_version, p_shard, p_input, p_input_hash, p_traceparent)
    ON CONFLICT (id) DO NOTHING;
    created := FOUND;
    IF created THEN
        matches := true;
        INSERT INTO amends.outbox (aggregatetype, aggregateid, type, payload, partition, kind, saga_id, traceparent)
        VALUES (p_topic, p_id, p_type, p_payload, p_shard, 'start', p_id, p_traceparent);
    ELSE
        SELECT s.input_hash = p_input_hash INTO matches FROM amends.sagas s WHERE s.id = p_id;
    END IF;
END $$;
