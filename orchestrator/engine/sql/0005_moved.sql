-- Safe to run again.
-- Who watches says so here, and again every few seconds. While somebody does, each batch and each start writes down which
-- sagas it moved. Transactions become visible in another order than they began, so a watcher goes by their numbers: what
-- has a lower one than all that are still under way was either seen or never happened.
CREATE TABLE IF NOT EXISTS amends.watchers (
    watcher uuid PRIMARY KEY,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    whole_from xid8,                    -- it knows of all that moved from this transaction on; NULL: not yet
    until timestamptz NOT NULL          -- before then it has to say so again
) WITH (fillfactor = 50);
COMMENT ON TABLE amends.watchers IS 'client.watching';

CREATE TABLE IF NOT EXISTS amends.moved (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    saga_nos bigint[] NOT NULL
);
CREATE INDEX IF NOT EXISTS moved_xid ON amends.moved (xid);
COMMENT ON TABLE amends.moved IS 'engine.feed';

ALTER TABLE amends.workers
    ADD COLUMN IF NOT EXISTS feeding_since timestamptz;  -- all its batches since then are in `moved`; NULL: none need be
CREATE INDEX IF NOT EXISTS takeovers_at ON amends.takeovers (at);

-- As before, and it tells who watches.
CREATE OR REPLACE FUNCTION amends.start_saga(
    p_id text, p_uid uuid, p_type text, p_version int, p_input text, p_input_hash bytea,
    p_shard int, p_topic text, p_payload bytea, p_traceparent text,
    OUT created boolean, OUT matches boolean
) LANGUAGE plpgsql AS $$
DECLARE made bigint;
BEGIN
    INSERT INTO amends.sagas (id, uid, type, version, shard, input, input_hash, traceparent)
    VALUES (p_id, p_uid, p_type, p_version, p_shard, p_input, p_input_hash, p_traceparent)
    ON CONFLICT (id) DO NOTHING
    RETURNING saga_no INTO made;
    created := made IS NOT NULL;
    IF created THEN
        matches := true;
        INSERT INTO amends.outbox (aggregatetype, aggregateid, type, payload, partition, kind, saga_id, traceparent)
        VALUES (p_topic, p_id, p_type, p_payload, p_shard, 'start', p_id, p_traceparent);
        IF EXISTS (SELECT FROM amends.watchers w WHERE w.until > clock_timestamp()) THEN
            INSERT INTO amends.moved (saga_nos) VALUES (ARRAY[made]);
        END IF;
    ELSE
        SELECT s.input_hash = p_input_hash INTO matches FROM amends.sagas s WHERE s.id = p_id;
    END IF;
END $$;

-- Clients and orchestrators are at work while this is run: they need these rights from now on, and not only when the
-- roles are granted anew.
DO $$
DECLARE who text;
BEGIN
    FOR who IN
        SELECT DISTINCT acl.grantee::regrole::text
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) AS acl
        WHERE p.pronamespace = 'amends'::regnamespace AND p.proname = 'start_saga'
            AND acl.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON amends.watchers TO %s', who);
        EXECUTE format('GRANT INSERT ON amends.moved TO %s', who);
    END LOOP;
    FOR who IN
        SELECT DISTINCT acl.grantee::regrole::text
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) AS acl
        WHERE p.pronamespace = 'amends'::regnamespace AND p.proname = 'fence'
            AND acl.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT SELECT, DELETE ON amends.watchers TO %s', who);
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON amends.moved TO %s', who);
    END LOOP;
END $$;
