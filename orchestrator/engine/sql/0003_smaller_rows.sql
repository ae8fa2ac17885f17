-- Safe to run again.
-- Where changes are decoded (wal_level = logical), each change of a row writes all of it into the WAL. So a saga's row
-- holds its input only until the first turn, whose journal row has it from there on. Rows that are there stay as they are.

ALTER TABLE amends.sagas
    ALTER COLUMN input DROP NOT NULL,
    ALTER COLUMN left_undone DROP NOT NULL, ALTER COLUMN left_undone DROP DEFAULT;  -- NULL: nothing was

-- Orchestrators are at work while this is run: whoever may change the status needs this right from now on, and not only
-- when the roles are granted anew.
DO $$
DECLARE who text;
BEGIN
    FOR who IN
        SELECT DISTINCT acl.grantee::regrole::text
        FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
        WHERE a.attrelid = 'amends.sagas'::regclass AND a.attname = 'status'
            AND acl.privilege_type = 'UPDATE' AND acl.grantee <> 0
    LOOP
        EXECUTE format('GRANT UPDATE (input) ON amends.sagas TO %s', who);
    END LOOP;
END $$;

-- As before, and the first turn, which is written with this, takes the input over. A saga that did not come so far, or
-- farther than `running` at once, keeps it.
CREATE OR REPLACE FUNCTION amends.move_sagas(
    p_saga_nos bigint[], p_before text[], p_after text[], p_ended boolean[],
    p_results text[], p_problems text[], p_left_undone text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE moved int;
BEGIN
    UPDATE amends.sagas s
    SET status = t.after,
        input = CASE WHEN t.before = 'queued' AND t.after = 'running' THEN NULL ELSE s.input END,
        ended_at = CASE WHEN t.ended THEN clock_timestamp() END,
        parked_at = CASE WHEN t.after IN ('stuck', 'blocked') THEN clock_timestamp() END,
        result = coalesce(t.result, s.result),
        problem = t.problem,
        left_undone = CASE WHEN t.left_undone IS NOT NULL
            THEN ARRAY(SELECT json_array_elements_text(t.left_undone::json)) END
    FROM unnest(p_saga_nos, p_before, p_after, p_ended, p_results, p_problems, p_left_undone)
        AS t(saga_no, before, after, ended, result, problem, left_undone)
    WHERE s.saga_no = t.saga_no AND s.status = t.before;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(p_saga_nos) THEN
        RAISE EXCEPTION 'a saga has another status than its owner knows' USING ERRCODE = 'AM002';
    END IF;
END $$;
