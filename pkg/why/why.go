// Package why names the reasons for which updates do not move. Every place that
// tells one, the CLI, the HTTP API, /readyz, metrics and alerts, uses these codes
// and sentences: there is no second list.
package why

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Code names a reason. Codes are stable: scripts and alerts depend on them.
type Code string

// The codes. Urgency, Alarming and Advice say what follows from each.
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
	// RateLimited: the target has asked to wait.
	RateLimited Code = "rate_limited"
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
	// Paused: somebody has paused the channel.
	Paused Code = "paused"
	// Deleted: somebody has deleted the channel.
	Deleted Code = "deleted"
	// MappingChanged: the target holds what an older configuration of the channel has made
	// of its updates.
	MappingChanged Code = "mapping_changed"
)

// A trait is what follows from a code.
type trait struct {
	code   Code
	alarm  bool
	blocks bool
	advice string
}

// traits lists the codes, the most urgent first.
func traits() []trait {
	return []trait{
		{NoWorker, true, false, "start a connector-worker, or find out why those that run do not get the partition: 'extsync workers'"},
		{StreamGone, true, true, "'extsync doctor --fix' makes it again, empty: see what was lost in docs/operations.md, 'A stream that is gone'"},
		{SecretMissing, true, true, "give that worker the secret: a file is read again by itself, its environment only when it is restarted"},
		{NotAllowed, true, true, "allow it in the setting of that worker that the message names, and restart it; or ask for what is allowed"},
		{ConnectorFailed, true, true, "correct the channel's configuration and apply it, or what the message names at that worker"},
		{CredentialsRefused, true, true, "correct the channel's credentials, or what they may do at the target"},
		{Misconfigured, true, true, "put right at the target, or in the channel's configuration, what the message names"},
		{TargetRefuses, true, true, "compare an update with what the target expects: 'extsync channels test'"},
		{TakeoverFailed, true, false, "look at that worker's log; see that the broker is well and lets the worker do what its role needs: 'extsync doctor --role worker'"},
		{NoProgress, true, false, "look at that worker's log and at the target; a connector that hangs ends with the channel's timeout"},
		{BrokerRefuses, true, false, "see that the broker is well and has room: 'extsync doctor'"},
		{QuotaFull, true, false, "raise the quota that the message names in the channel's configuration and apply it; of dead letters, replay or discard some: 'extsync dead'"},
		{CircuitOpen, true, false, "see that the target runs and can be reached; deliveries go on by themselves"},
		{RateLimited, false, false, "nothing, or ask the target's owner for a higher limit"},
		{TargetError, false, false, "see what the target answers: 'extsync tail CHANNEL --failing'"},
		{Unready, false, false, "wait, or bring what the updates need to the target; after retry.unready_for they are dead letters that say what it was"},
		{Parked, false, false, "see what the target answers: 'extsync tail CHANNEL --failing'"},
		{ReloadFailed, false, false, "correct what the message names at that worker: the secrets that it has read anew are not used yet"},
		{TakingOver, false, false, "wait a moment"},
		{Opening, false, false, "wait a moment"},
		{Changing, false, false, "wait; if it takes longer than a minute, see that a worker runs and apply the channel again"},
		{Paused, false, false, "'extsync channels resume' lets deliveries go on"},
		{MappingChanged, false, false, "in a channel of mode latest, 'extsync resync CHANNEL' brings every key to the target as the configuration of now makes it; in one of mode every, publish newer versions of the keys"},
		{Deleted, false, false, "'extsync channels restore' brings the channel back"},
	}
}

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
	return trait{code: c}
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

// Advice returns what to do about it, "" for a code that is not known.
func (c Code) Advice() string { return c.trait().advice }

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

// A Reason says why something does not move.
type Reason struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Worker has said so, or is the one that it is about; "" if it is about none.
	Worker string    `json:"worker,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Next is when it is tried again; zero if that is not known or does not depend on
	// time.
	Next time.Time `json:"next_attempt,omitzero"`
	// Failing is there if nobody gets through to the target.
	Failing *Failing `json:"failing,omitempty"`
}

// Failing are the keys of a channel that fail while nobody gets through. None of them is
// given up meanwhile: 'extsync key give-up' ends one.
type Failing struct {
	Since time.Time `json:"since,omitzero"` // when the first of them failed; zero if that is not known
	Keys  []string  `json:"keys,omitempty"` // the first of them
	More  bool      `json:"more,omitempty"` // there are others
}

// String returns it in one sentence.
func (f *Failing) String() string {
	text := "nobody gets through"
	if !f.Since.IsZero() {
		text += " since " + f.Since.UTC().Format(time.RFC3339)
	}
	text += ", and nothing is given up by itself"
	if len(f.Keys) > 0 {
		text += "; failing: " + strings.Join(f.Keys, ", ")
	}
	if f.More {
		text += " and others"
	}
	return text
}

// String returns the reason in one sentence, with the name of the worker.
func (r Reason) String() string {
	var place string
	switch {
	case r.Worker == "":
	case r.Code.Blocks():
		place = "blocked at worker " + r.Worker + ": "
	default:
		place = "worker " + r.Worker + ": "
	}
	text := place + r.Message
	if !r.Next.IsZero() {
		text += " (next attempt " + r.Next.UTC().Format(time.RFC3339) + ")"
	}
	if r.Failing != nil {
		text += "; " + r.Failing.String()
	}
	return text
}
