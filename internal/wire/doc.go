// Package wire is what the programs of extsync say to each other and no other program may
// rely on: all subjects, streams and buckets, the stored forms of updates, outcome log and
// ledger, the incarnation, and how streams are read. All of pkg may import it; its types stay
// out of what packages for users export.
package wire
