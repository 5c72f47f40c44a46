package outbox

// The statements of Put and Next. The row of the key is locked before the row of the outbox
// has its id: so ids of one key are in the order of commits.
const (
	postgresPut = `WITH locked AS (
	INSERT INTO extsync_outbox_keys AS k (key, version) VALUES ($2, $9)
	ON CONFLICT (key) DO UPDATE SET version = greatest(k.version, excluded.version) RETURNING 1)
INSERT INTO extsync_outbox (target, key, version, op, payload, content_type, base, reply_to)
SELECT $1::text, $2::text, $3::text, $4::text, $5::bytea, $6::text, $7::text, $8::text FROM locked`
	postgresNext = `INSERT INTO extsync_outbox_keys AS k (key, version) VALUES ($1, 1)
ON CONFLICT (key) DO UPDATE SET version = k.version + 1 RETURNING k.version`

	mysqlLock = "INSERT INTO extsync_outbox_keys (`key`, version) VALUES (?, ?) " +
		"ON DUPLICATE KEY UPDATE version = greatest(version, values(version))"
	mysqlInsert = "INSERT INTO extsync_outbox (target, `key`, version, op, payload, content_type, base, reply_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	mysqlNext   = "INSERT INTO extsync_outbox_keys (`key`, version) VALUES (?, 1) ON DUPLICATE KEY UPDATE version = version + 1"
	mysqlCount  = "SELECT version FROM extsync_outbox_keys WHERE `key` = ?"

	sqliteLock = `INSERT INTO extsync_outbox_keys (key, version) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET version = max(version, excluded.version)`
	sqliteInsert = `INSERT INTO extsync_outbox (target, key, version, op, payload, content_type, base, reply_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	sqliteNext   = `INSERT INTO extsync_outbox_keys (key, version) VALUES (?, 1)
ON CONFLICT (key) DO UPDATE SET version = version + 1 RETURNING version`
)
