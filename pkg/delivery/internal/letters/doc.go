// Package letters removes the dead letters of a partition that later outcomes have
// settled.
//
// A Tidier owns what is known of the partition's letters: which keys have some, and which
// may have settled ones. The tenure tells it of outcomes; it works behind the log, in a
// goroutine of its own, so that a worker which dies first leaves letters that the ledger no
// longer names, and the next owner of the partition finds them. It asks for the ledger's
// record of a key by a function, and knows nothing of lanes.
package letters
