-- Which mode people want, which one there is and since when; and what became of the slot. Safe to run again.

ALTER TABLE amends.relay_lease
    -- NULL: nobody has switched, each relay does what it was started with. The holder reads it with each beat.
    ADD COLUMN IF NOT EXISTS wanted_mode text CHECK (wanted_mode IN ('cdc', 'polling')),
    ADD COLUMN IF NOT EXISTS wanted_at timestamptz,
    ADD COLUMN IF NOT EXISTS state_at timestamptz;  -- since when `state` is what it is

-- The slot that the relay made, so that the next one knows whether it was lost: a slot leaves no trace when it is
-- dropped, and a restored database has none, or one of another time.
CREATE TABLE IF NOT EXISTS amends.relay_slot (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    name text,                          -- NULL: there should be none
    origin text,                        -- system id/timeline of the Postgres that it was made in
    lost text,                          -- what was found wrong last; kept after it has been mended
    lost_at timestamptz
);
INSERT INTO amends.relay_slot DEFAULT VALUES ON CONFLICT DO NOTHING;
COMMENT ON TABLE amends.relay_slot IS 'outbox_relay.slot';
