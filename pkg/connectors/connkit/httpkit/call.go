package httpkit

import (
	"context"
	"errors"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A callError is a call that got no answer. Its text is made here, from what is
// known of the cause: the causes' own texts can hold URLs and what the target
// sent.
type callError struct {
	to, what string
	cause    error
}

func (e *callError) Error() string { return e.to + ": " + e.what }
func (e *callError) Unwrap() error { return e.cause }

// Unanswered is the result of a call that got no answer. parent is what ctx, that of the
// call, was bounded from. to names the other side, and d says what err means.
func Unanswered(parent, ctx context.Context, to string, d connkit.Diagnosis, err error) connectors.Result {
	switch {
	case errors.Is(parent.Err(), context.Canceled):
		d = connkit.Diagnosis{Class: connectors.Transient, Code: "canceled", Text: "the call was cancelled"}
	case ctx.Err() != nil:
		d = connkit.Diagnosis{Class: connectors.Transient, Code: "timeout", Text: "no answer in time"}
	}
	return connectors.Failed(d.Class, d.Code, &callError{to: to, what: d.Text, cause: err})
}
