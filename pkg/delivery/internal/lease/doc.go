// Package lease says who works on what until when.
//
// It owns the leases of one worker (Keeper, Lease), its place among the workers that
// are alive (Membership), and the rule by which they share the shards (Assign).
//
// The worker's manager announces the worker, asks who is alive, acquires, renews and
// releases; everything that works on a shard asks its Lease, or stops with its context.
//
// It enforces guarantee 2: a lease ends for its owner before another worker can get
// it, by nothing but the clock of each machine (docs/adr/0030).
package lease
