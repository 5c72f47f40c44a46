// Package lanes has the queue of each key of a partition, and every decision about an
// update: whether it needs a call, what follows from the result, when it is tried again,
// when its key is parked, and when it is let go.
//
// It is a state machine without effects: no I/O, no goroutine, no lock, no timer, and no
// clock or randomness but what Options give it. What happens is told to Lanes by methods,
// one for each kind of event; what has to be done for it is left in Actions, which the
// owner, a tenure, carries out after each event, under the lock that it keeps around both.
//
// It enforces guarantee 2 (one call in flight for a key, in the order of the key) and, in
// part, 4 (what has not failed for good is tried again), 6 (only failures that count are
// counted) and 7 (a key that fails is moved out of the way).
package lanes
