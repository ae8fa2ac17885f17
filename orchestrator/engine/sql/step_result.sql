-- The fence of a transactional step, in whichever database its statements run: made there when it is needed first, by
-- the orchestrator, or by `amends migrate --roles` where the orchestrator's role may make nothing.
CREATE TABLE IF NOT EXISTS amends.step_result (
    operation_key text PRIMARY KEY,
    result text,                        -- JSON
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE amends.step_result IS 'engine.step_results';
