-- The outbox of extsync, for MySQL 8.0 and MariaDB 10.6 and later. Run it once, in the
-- database of the platform's own tables.

-- A row is an update that is not at the broker yet. A transaction adds it, the relay removes it.
CREATE TABLE IF NOT EXISTS extsync_outbox (
    id           bigint          NOT NULL AUTO_INCREMENT PRIMARY KEY,
    target       varbinary(160)  NOT NULL,                      -- a channel, or topics/ and the name of a topic
    `key`        varbinary(1100) NOT NULL DEFAULT '',           -- the entity
    version      varchar(64)     NOT NULL DEFAULT '',           -- a number, or a time in RFC 3339
    op           varchar(64)     NOT NULL DEFAULT 'upsert',     -- upsert or delete
    payload      longblob,                                      -- NULL for a delete
    content_type varchar(512)    NOT NULL DEFAULT 'application/json',
    base         varchar(64),                                   -- the version that this one was made from
    reply_to     varchar(1024),                                 -- the subject of the ack
    created_at   timestamp(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    noted_at     timestamp(6)    NULL DEFAULT NULL,             -- when the relay has set the row aside; NULL again has it tried again
    note         text,                                          -- and why
    KEY extsync_outbox_by_target (target, noted_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- A row for each key: its lock keeps the rows of the key in the order of their commits, and
-- version counts for platforms that have no versions of their own.
CREATE TABLE IF NOT EXISTS extsync_outbox_keys (
    `key`   varbinary(1100) NOT NULL PRIMARY KEY,
    version bigint          NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
