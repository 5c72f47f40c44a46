package connectors

import (
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Class says what the engine does next. It is decided once, by the connector,
// where the knowledge is.
type Class uint8

// The classes. The zero value is Transient: the unknown is tried again, never
// lost.
const (
	// Transient: the target could not be reached or failed; try again.
	Transient Class = iota
	// OK: the target holds this version now, through this call or before it.
	OK
	// Throttled: the target asks for time. No attempt is spent; see
	// Result.RetryAfter.
	Throttled
	// Permanent: the target will never take this update. It becomes a dead
	// letter.
	Permanent
	// Conflict: the target holds the same version with another content, or
	// something that the platform did not write.
	Conflict
	// Stale: the target holds a newer version; see Result.Held.
	Stale
	// Misconfigured: nothing will get through until an operator acts
	// (credentials, permissions, a missing table). If that is so, the channel is
	// blocked, and no attempt is spent; if another key gets through it is as Transient.
	Misconfigured
	// Unready: the target cannot take this update yet; time or another update may cure that
	// (the row that it refers to is not there, another request is in the way). It waits for
	// a while in which others get through, then it becomes a dead letter.
	Unready
)

//nolint:gochecknoglobals // a constant that the language cannot express as one
var classNames = [...]string{"transient", "ok", "throttled", "permanent", "conflict", "stale", "misconfigured", "unready"}

// String returns the class in lower case.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// MaxResponse bounds Result.Response, in bytes. A dead letter keeps all of it, the
// outcome log and the ledger the first events.MaxResponseLen bytes.
const MaxResponse = 4096

// MaxRetryAfter bounds Result.RetryAfter: longer waits are cut.
const MaxRetryAfter = 24 * time.Hour

// A Result is what came of one attempt. The zero Result is a transient failure.
type Result struct {
	Class Class
	// Code is the target's own: an HTTP status ("503"), an SQLSTATE ("40001"),
	// or a short word where there was no answer ("timeout", "dns").
	Code string
	// Err says what went wrong, in one line and without secrets or payload. nil
	// for OK.
	Err error
	// Held is what the target said it holds, for Stale and Conflict; zero if it
	// did not say.
	Held versioning.Tag
	// RetryAfter is how long the target asked to be left alone; 0 if it did not. It counts
	// for every failure that is tried again, up to MaxRetryAfter.
	RetryAfter time.Duration
	// Response is an excerpt of the target's answer for people to read, whatever the
	// class: at most MaxResponse bytes of UTF-8, without secrets. It may show the
	// payload, and be empty. It is where an answer explains why it is one.
	Response string
	// Unasked says that the target was not asked: that the attempt failed says nothing of
	// it. The update, or the channel's configuration, is at fault. It is for Permanent, and
	// for Transient if that can pass: it spends an attempt whether the target is there or
	// not, and blocks the channel when two keys have it and no other is delivered.
	Unasked bool
	// Remember are values that the next call for the key wants, for OK only: they take the
	// place of those of the same name (Refs.With). With a delivered delete all are
	// forgotten. nil: they stay as they are. More than MaxRefs bytes are not kept.
	Remember Refs
	// RuleErrors is how many rules of the configuration could not be evaluated on the
	// target's answer, and so did not decide.
	RuleErrors int
}

// Codes of transient failures in which nobody was there to answer. They say nothing
// of the update, so the channel's circuit opens even where only one key fails so.
const (
	CodeRefused     = "refused"     // nobody listens at the address
	CodeUnreachable = "unreachable" // there is no route to it
	CodeDNS         = "dns"         // the name cannot be looked up
)

// NobodyThere reports whether the attempt met nobody, by its class and code.
func (r *Result) NobodyThere() bool {
	return r.Class == Transient && (r.Code == CodeRefused || r.Code == CodeUnreachable || r.Code == CodeDNS)
}

// Done returns the result of a successful attempt.
func Done() Result { return Result{Class: OK} }

// Failed returns the result of an attempt that failed with err, which must not
// be nil.
func Failed(class Class, code string, err error) Result {
	return Result{Class: class, Code: code, Err: err}
}

// Unasked returns the result of an attempt that failed for good with err, which must
// not be nil, before the target was asked.
func Unasked(code string, err error) Result {
	return Result{Class: Permanent, Code: code, Err: err, Unasked: true}
}

// A Meaning says what a code of a target stands for, and why it has its class. It is for
// documents.
type Meaning struct {
	Code  string
	Class Class
	What  string
	Why   string
}

// An Error carries a class through a plain error, for Probe and for Open.
type Error struct {
	Class Class
	Code  string
	Err   error
}

// Error returns the message of the cause, with the code in front.
func (e *Error) Error() string {
	if e.Code == "" {
		return e.Err.Error()
	}
	return e.Code + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class that err carries, Transient if it carries none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Transient
}
