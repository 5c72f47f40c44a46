package connsql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A verdict is what an error of a database means.
type verdict struct {
	class connectors.Class
	code  string
	text  string // for people; it shows no value of a row
	said  string // the database's own words, beyond those in text; they may show values
	cause error  // a sentinel that callers may look for, nil if there is none
	// shared: the reason does not lie in a row, so others would meet it too.
	shared bool
	// raised: it is shared unless a trigger, a function or a policy has raised it for one row.
	raised bool
	// waited: a lock was waited for in vain.
	waited bool
	// noTable: the table is missing.
	noTable bool
}

// met is what the rows of one call have met so far.
type met struct {
	through bool // the database took some
	refused int  // rows that it refused by themselves
}

// everybody reports whether the rows that are left would meet the same. Where one row may be
// to blame, two that are refused by themselves while none gets through speak for all, as they
// do for a channel.
func (m *met) everybody(v verdict) bool {
	return v.shared && (!v.raised || !m.through && m.refused >= 2)
}

// notNull reports whether a column must not be NULL.
func (v verdict) notNull() bool {
	return v.code == "23502" || v.code == "1048" || v.code == "sqlite-1299"
}

// wrap returns the verdict's error with this text.
func (v verdict) wrap(text string) error {
	if v.cause != nil {
		return fmt.Errorf("%s: %w", text, v.cause)
	}
	return errors.New(text)
}

// ended is what a call comes to whose ctx has ended.
func ended(err error) *connectors.Error {
	code := "canceled"
	if errors.Is(err, context.DeadlineExceeded) {
		code = "timeout"
	}
	return &connectors.Error{Class: connectors.Transient, Code: code, Err: fmt.Errorf("the database did not answer in time: %w", err)}
}

// judgeNetwork classifies an error that is not an answer of the database. Its text is
// not shown.
func judgeNetwork(err error) verdict {
	d := connkit.Diagnose(err)
	return verdict{class: d.Class, code: d.Code, text: d.Text, shared: true}
}

// oneLine makes one line of a text.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// join returns what of the parts is there, in one line.
func join(parts ...string) string {
	var out []string
	for _, part := range parts {
		if part = oneLine(part); part != "" {
			out = append(out, part)
		}
	}
	return strings.ToValidUTF8(strings.Join(out, "; "), "\uFFFD")
}
