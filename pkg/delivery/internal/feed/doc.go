// Package feed brings the updates of a partition from the broker, in order and without a
// gap.
//
// A Feed owns the partition's consumer: it makes it at a floor, deletes the one before,
// and makes another when it is lost or when what it sent did not come out. It finds
// messages that NATS clients do not hand out, and notices that the stream is another one,
// or older than it was. The partition's tenure opens it, runs it, and takes what comes
// through the Taker, which waits where there is no room. A feed knows nothing of lanes or
// of what becomes of an update.
//
// It enforces guarantee 2 on the way in (a later version is not taken while an earlier
// one is missing) and a part of guarantee 5 (nothing is left unseen).
package feed
