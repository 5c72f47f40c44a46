// Package why says how a key or a channel stands, on two axes that are never mixed: Sync
// says what the target holds, Health whether it moves by itself. A Code names the reason,
// where there is one. Every place that tells these, the CLI, the HTTP API, /readyz, metrics
// and alerts, uses the same words: there is no second list.
package why

import (
	"cmp"
	"slices"
)

// A Code names a reason. Codes are stable: scripts and alerts depend on them.
type Code string

// The codes. What, Advice, Health and Alarming say what follows from each.
const (
	// NoWorker: no live worker says that it has the partition.
	NoWorker Code = "no_worker"
	// StreamGone: the channel's stream is gone, with what was in it.
	StreamGone Code = "stream_gone"
	// SecretMissing: a worker cannot resolve a secret reference of the channel.
	SecretMissing Code = "secret_missing"
	// NotAllowed: the settings of a worker do not let the channel have what it asks for.
	NotAllowed Code = "not_allowed"
	// ConnectorFailed: a worker cannot open the channel's connector, for another reason.
	ConnectorFailed Code = "connector_failed"
	// CredentialsRefused: the target does not let the channel's credentials in.
	CredentialsRefused Code = "credentials_refused"
	// Misconfigured: the target lacks something else that somebody must put right.
	Misconfigured Code = "misconfigured"
	// TargetRefuses: the target has refused many updates in a row and taken none.
	TargetRefuses Code = "target_refuses"
	// CircuitOpen: the target fails; one update at a time probes it.
	CircuitOpen Code = "circuit_open"
	// TakeoverFailed: the worker that has the partition cannot begin with it.
	TakeoverFailed Code = "takeover_failed"
	// NoProgress: there is something to do, and nothing was settled for long.
	NoProgress Code = "no_progress"
	// BrokerRefuses: the broker does not take what the worker must store.
	BrokerRefuses Code = "broker_refuses"
	// QuotaFull: the channel has used up its part of a stream that all channels share.
	QuotaFull Code = "quota_full"
	// ChannelFull: the channel's own stream is so full that publishers refuse new keys.
	ChannelFull Code = "channel_full"
	// Conflict: the newest version ended as a conflict.
	Conflict Code = "conflict"
	// MappingFailed: the newest version was given up, as the channel's filter, mapping or
	// render fails on it.
	MappingFailed Code = "mapping_failed"
	// Malformed: the newest message of the key is no update.
	Malformed Code = "malformed"
	// DeadLettered: the newest version was given up, for another reason.
	DeadLettered Code = "dead_lettered"
	// RateLimited: the target has asked to wait.
	RateLimited Code = "rate_limited"
	// Suspect: the key fails as if the channel were at fault, and others get through.
	Suspect Code = "suspect"
	// TargetError: keys fail and wait for their next attempt.
	TargetError Code = "target_error"
	// Unready: the target cannot take the updates of some keys yet.
	Unready Code = "unready"
	// Parked: keys keep failing and were moved out of the way of the others.
	Parked Code = "parked"
	// ReloadFailed: a worker cannot open the channel's connector anew, and goes on with the
	// one that is open.
	ReloadFailed Code = "reload_failed"
	// TakingOver: a worker has just got the partition and is about to begin.
	TakingOver Code = "taking_over"
	// Opening: a worker opens the channel's connector.
	Opening Code = "opening"
	// Changing: the channel's partitions are being changed.
	Changing Code = "changing"
	// Pending: the newest version lies at the broker, and its turn has not come.
	Pending Code = "pending"
	// Superseded: a newer version has overtaken the one that was asked about, and has no
	// outcome yet.
	Superseded Code = "superseded"
	// TargetNewer: the target has said that it holds a newer version than the platform's.
	TargetNewer Code = "target_newer"
	// Paused: somebody has paused the channel.
	Paused Code = "paused"
	// Filling: the channel is new, or takes more keys of its topic than before, and gets what
	// the topic had then.
	Filling Code = "filling"
	// MappingChanged: the target holds what an older configuration of the channel has made
	// of its updates.
	MappingChanged Code = "mapping_changed"
	// Deleted: somebody has deleted the channel.
	Deleted Code = "deleted"
)

// Codes returns all codes, the most urgent first.
func Codes() []Code {
	var out []Code
	for _, t := range traits() {
		out = append(out, t.code)
	}
	return out
}

func (c Code) trait() trait {
	for _, t := range traits() {
		if t.code == c {
			return t
		}
	}
	return trait{code: c, health: HealthOK}
}

// Alarming reports whether somebody should be woken when updates wait for this
// reason. A code that this version does not know is none.
func (c Code) Alarming() bool { return c.trait().alarm }

// Blocks reports whether nothing gets through until somebody acts.
func (c Code) Blocks() bool { return c.trait().blocks }

// Probed reports whether the target is tried from time to time until it answers.
func (c Code) Probed() bool {
	return c == CircuitOpen || c == CredentialsRefused || c == Misconfigured || c == TargetRefuses
}

// What returns what the code means, in one sentence without a full stop; "" for a code
// that is not known.
func (c Code) What() string { return c.trait().what }

// Advice returns the next step, "" for a code that is not known.
func (c Code) Advice() string { return c.trait().advice }

// Health returns the health of what the code holds back; HealthOK if it holds nothing back, and
// for a code that is not known.
func (c Code) Health() Health { return c.trait().health }

// urgency returns 0 for the most urgent code; unknown ones come last.
func (c Code) urgency() int {
	codes := Codes()
	if i := slices.Index(codes, c); i >= 0 {
		return i
	}
	return len(codes)
}

// Compare orders codes by urgency, the most urgent first.
func Compare(a, b Code) int { return cmp.Compare(a.urgency(), b.urgency()) }
