// Package gate stands in front of a channel's target: it decides whether calls are made.
//
// It owns the circuit (closed, open, blocked), what the last results have in common, the
// times at which the target is probed, and the waits that the target or the broker asked
// for. The channel's partitions on this worker share one gate: they ask Admit before a
// call and Report or Withdraw after it, and hear of changes as its Watchers. Whoever
// tells people asks Held and Status. It knows neither partitions nor the broker.
//
// It enforces guarantee 6: failures that are the target's or the configuration's spend no
// attempts of an update.
package gate
