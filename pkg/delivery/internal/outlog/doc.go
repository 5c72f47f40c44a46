// Package outlog is a partition's part of the outcome log, and the record of how far its
// owner has come.
//
// A Log owns the sequence of the partition's last record, which the next one must expect:
// that is the fence. Fence puts a mark behind a predecessor's last record, after which
// its commits fail; Append writes a group of outcomes; Tail reads what a ledger may not
// reflect yet. A Progress owns the partition's record in the bucket of that name, changed
// by compare-and-set. The partition's tenure calls both: Fence and Tail when it takes
// over, Append for each group. They know the broker, and nothing of lanes or calls.
//
// It enforces guarantees 1 (the outcome is logged before anything is settled) and 3 (one
// outcome: of two owners only one can log).
package outlog
