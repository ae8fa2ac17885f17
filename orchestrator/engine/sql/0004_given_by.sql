-- Safe to run again.
-- A verb that came over HTTP: `given_by` is who logged in, then whose token it was. The first half stays the database's
-- word: who may run this can't write another's name, and the second half can't hold the sign between them.
CREATE OR REPLACE FUNCTION amends.give_verb(p_saga_id text, p_verb text, p_note text, p_token text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE given bigint;
BEGIN
    IF p_token IS NULL OR p_token = '' OR strpos(p_token, '/') > 0 THEN
        RAISE EXCEPTION 'no name of a token: %', p_token USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO amends.verbs (saga_id, shard, verb, note, given_by)
    SELECT s.id, s.shard, p_verb, p_note, session_user || '/' || p_token
    FROM amends.sagas s
    WHERE s.id = p_saga_id AND s.status NOT IN ('completed', 'failed', 'cancelled', 'terminated')
    RETURNING verb_no INTO given;
    RETURN given;
END $$;
REVOKE ALL ON FUNCTION amends.give_verb(text, text, text, text) FROM PUBLIC;
