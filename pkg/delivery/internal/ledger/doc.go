// Package ledger is the part of the ledger that one partition owns: the records of
// its keys as the outcome log makes them, ahead of the bucket and written to it
// behind.
//
// It owns the records in memory (View), what is known of keys that have none, and
// when what is ahead of the bucket is written. Its lock is its own, and it never
// calls its owner under it.
//
// The partition's owner pins the keys that it works on, loads their records before
// it decides (guarantee 2: what was applied is known before every call), applies
// each outcome once the log has it (guarantee 1), and runs Run beside that.
package ledger
