-- Safe to run again.
-- No index may name the status: each change of it would then write into all of them (no HOT update).

ALTER TABLE amends.sagas
    ADD COLUMN IF NOT EXISTS parked_at timestamptz;  -- since when it is stuck or blocked
ALTER TABLE amends.sagas SET (fillfactor = 50);
UPDATE amends.sagas SET parked_at = now() WHERE status IN ('stuck', 'blocked') AND parked_at IS NULL;

DROP INDEX IF EXISTS amends.sagas_open;
DROP INDEX IF EXISTS amends.sagas_parked;
CREATE INDEX sagas_open ON amends.sagas (shard, saga_no) WHERE ended_at IS NULL;
CREATE INDEX sagas_parked ON amends.sagas (saga_no) WHERE parked_at IS NOT NULL;

-- Not unique: a topic that was made anew has other messages under the same offsets.
ALTER TABLE amends.dead_letters DROP CONSTRAINT IF EXISTS dead_letters_topic_partition_offset_key;
CREATE INDEX IF NOT EXISTS dead_letters_place ON amends.dead_letters (topic, partition, "offset");

-- As before, and since when a saga waits for a person.
CREATE OR REPLACE FUNCTION amends.move_sagas(
    p_saga_nos bigint[], p_before text[], p_after text[], p_ended boolean[],
    p_results text[], p_problems text[], p_left_undone text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE moved int;
BEGIN
    UPDATE amends.sagas s
    SET status = t.after,
        ended_at = CASE WHEN t.ended THEN clock_timestamp() END,
        parked_at = CASE WHEN t.after IN ('stuck', 'blocked') THEN clock_timestamp() END,
        result = coalesce(t.result, s.result),
        problem = t.problem,
        left_undone = ARRAY(SELECT json_array_elements_text(t.left_undone::json))
    FROM unnest(p_saga_nos, p_before, p_after, p_ended, p_results, p_problems, p_left_undone)
        AS t(saga_no, before, after, ended, result, problem, left_undone)
    WHERE s.saga_no = t.saga_no AND s.status = t.before;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(p_saga_nos) THEN
        RAISE EXCEPTION 'a saga has another status than its owner knows' USING ERRCODE = 'AM002';
    END IF;
END $$;
