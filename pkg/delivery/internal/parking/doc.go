// Package parking is the stream to which the updates of failing keys are moved, so that no
// other key waits for them.
//
// A Stream owns the stored form of a parked update: the update's own message with headers
// that name its place in the channel's stream. It moves updates there, finds those that a
// former owner of the partition has left, reads their content and removes them. Who is
// parked, in which order and for how long is decided by the lanes of the partition, which
// are its only caller.
//
// It enforces a part of guarantee 7: a key that always fails delays nothing but itself.
package parking
