-- The outbox of extsync, for SQLite 3.37 and later. Run it once, in the file of the
-- platform's own tables.

-- A row is an update that is not at the broker yet. A transaction adds it, the relay removes it.
CREATE TABLE IF NOT EXISTS extsync_outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    target       TEXT NOT NULL,                            -- a channel, or topics/ and the name of a topic
    key          TEXT NOT NULL DEFAULT '',                 -- the entity
    version      TEXT NOT NULL DEFAULT '',                 -- a number, or a time in RFC 3339
    op           TEXT NOT NULL DEFAULT 'upsert',           -- upsert or delete
    payload      ANY,                                      -- NULL for a delete
    content_type TEXT NOT NULL DEFAULT 'application/json',
    base         TEXT,                                     -- the version that this one was made from
    reply_to     TEXT,                                     -- the subject of the ack
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    noted_at     TEXT,                                     -- when the relay has set the row aside; NULL again has it tried again
    note         TEXT                                      -- and why
) STRICT;

CREATE INDEX IF NOT EXISTS extsync_outbox_by_target ON extsync_outbox (target, id) WHERE noted_at IS NULL;
CREATE INDEX IF NOT EXISTS extsync_outbox_aside ON extsync_outbox (target) WHERE noted_at IS NOT NULL;

-- A row for each key: version counts for platforms that have no versions of their own.
CREATE TABLE IF NOT EXISTS extsync_outbox_keys (
    key     TEXT    PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
