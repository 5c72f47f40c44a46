package why

import (
	"strings"
	"time"
)

// A Reason says why something does not move.
type Reason struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Advice is the next step, where it is told with the reason: Code.Advice.
	Advice string `json:"advice,omitempty"`
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
