// Package flow bounds what a worker takes in and says how far it has got.
//
// It owns the byte budget of a worker (Budget), the part of it that one partition
// holds (Share), and the sequence up to which a partition's updates are settled
// (Floor).
//
// The loops that take updates from the broker call Take before and Add after they
// have one; whoever settles it calls Give and Done. Nothing here knows of updates,
// lanes or the broker.
//
// It enforces guarantee 7: no channel stands still because another one is slow, and
// the memory of a worker has a bound.
package flow
