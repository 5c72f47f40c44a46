// Package words says errors in sentences that a person can act on. What libraries report
// (context, NATS, TLS, files, networks, JSON) is known by its type and said in words;
// what extsync itself wrote stays as it is.
package words

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// Of returns what an error says, on one line if all that it wraps does. Wherever an error
// of a library is wrapped, what it means stands in the place of its text. A part that
// would be said twice in a row is said once.
func Of(err error) string {
	parts := strings.Split(of(err), ": ")
	said := parts[:1]
	for _, part := range parts[1:] {
		if part != said[len(said)-1] {
			said = append(said, part)
		}
	}
	return strings.Join(said, ": ")
}

func of(err error) string {
	if text := meaning(err); text != "" {
		return text
	}
	text := err.Error()
	below := wrapped(err)
	if len(below) == 0 {
		return withoutPackage(text)
	}
	for _, inner := range below {
		text = strings.Replace(text, inner.Error(), of(inner), 1)
	}
	return withoutPackage(text)
}

// wrapped returns the errors directly below another one.
func wrapped(err error) []error {
	switch e := err.(type) { //nolint:errorlint // one step, not all of the way
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return []error{inner}
		}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

// withoutPackage takes the name of the package away that errors of Go's libraries begin
// with, and by which nobody is helped.
func withoutPackage(text string) string {
	for _, name := range []string{"nats: ", "json: ", "tls: ", "x509: "} {
		text = strings.TrimPrefix(text, name)
	}
	return text
}

// meaning says what an error of a library means; "" if it is none, or none that is known
// here. It looks at the error itself, not at what it wraps.
func meaning(err error) string {
	for _, of := range []func(error) string{plain, ofFile, ofNetwork, ofTLS, ofBroker} {
		if text := of(err); text != "" {
			return text
		}
	}
	return ""
}

func plain(err error) string {
	switch err { //nolint:errorlint // the error itself
	case context.DeadlineExceeded:
		return "there was no answer in time"
	case context.Canceled:
		return "interrupted"
	case io.ErrUnexpectedEOF:
		return "it ends in the middle"
	}
	switch e := err.(type) { //nolint:errorlint // likewise
	case *json.SyntaxError:
		return fmt.Sprintf("it is not valid JSON (at byte %d)", e.Offset)
	case *json.UnmarshalTypeError:
		return ofJSONType(e)
	case *strconv.NumError:
		return strconv.Quote(e.Num) + " is not a number that fits here"
	case *url.Error:
		return e.URL + ": " + of(e.Err)
	}
	return ""
}

// ofJSONType names the field and not the type of Go that it is read into.
func ofJSONType(e *json.UnmarshalTypeError) string {
	field := e.Field
	if field == "" {
		field = "it"
	}
	kind, _, _ := strings.Cut(e.Value, " ")
	article := "a"
	if kind == "array" || kind == "object" {
		article = "an"
	}
	return fmt.Sprintf("%s cannot be %s %s", field, article, kind)
}

// either reports whether an error is, or wraps, one of some others.
func either(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
