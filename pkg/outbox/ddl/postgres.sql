-- The outbox of extsync, for PostgreSQL 12 and later. Run it once, in the schema of the
-- platform's own tables.

-- A row is an update that is not at the broker yet. A transaction adds it, the relay removes it.
CREATE TABLE IF NOT EXISTS extsync_outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target       text        NOT NULL,                     -- a channel, or topics/ and the name of a topic
    key          text        NOT NULL DEFAULT '',          -- the entity
    version      text        NOT NULL DEFAULT '',          -- a number, or a time in RFC 3339
    op           text        NOT NULL DEFAULT 'upsert',    -- upsert or delete
    payload      bytea,                                    -- NULL for a delete
    content_type text        NOT NULL DEFAULT 'application/json',
    base         text,                                     -- the version that this one was made from
    reply_to     text,                                     -- the subject of the ack
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    noted_at     timestamptz,                              -- when the relay has set the row aside; NULL again has it tried again
    note         text                                      -- and why
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX IF NOT EXISTS extsync_outbox_by_target ON extsync_outbox (target, id) WHERE noted_at IS NULL;
CREATE INDEX IF NOT EXISTS extsync_outbox_aside ON extsync_outbox (target) WHERE noted_at IS NOT NULL;

-- A row for each key: its lock keeps the rows of the key in the order of their commits, and
-- version counts for platforms that have no versions of their own.
CREATE TABLE IF NOT EXISTS extsync_outbox_keys (
    key     text   PRIMARY KEY,
    version bigint NOT NULL
) WITH (fillfactor = 80);

-- Tells the relay at each commit that there is something to do. Without it the relay finds
-- out when it looks next.
CREATE OR REPLACE FUNCTION extsync_outbox_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('extsync_outbox', '');
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS extsync_outbox_wake ON extsync_outbox;
CREATE TRIGGER extsync_outbox_wake AFTER INSERT ON extsync_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION extsync_outbox_wake();
