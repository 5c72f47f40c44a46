package connectors

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/events"
)

// A Fetcher can show what the target holds of a key beside what an attempt would write in
// its place. Nothing is written. A part is different by the rule that a Comparer has, where
// the connector is one.
type Fetcher interface {
	Fetch(ctx context.Context, a Attempt) (Fetched, error)
}

// Fetched is what the target holds in the place of one attempt.
type Fetched struct {
	// Held is that of a Reader.
	Held
	// There: the target has something of the key, which may have no version.
	There bool
	Parts []Part
	// Unwritable says why the attempt could not be written; nothing of the payload. No part
	// has Ours then.
	Unwritable string
}

// A Part is a part of the content: a column, or all of it.
type Part struct {
	Name string // "": all of it
	// Ours and Theirs are JSON, nil where there is nothing.
	Ours, Theirs json.RawMessage
	// Differs: it is another one, also where its fields look the same. False: it is the same
	// if its fields are.
	Differs bool
}

// ContentPart returns the part that is all of the content, as bytes; nil stands for nothing.
func ContentPart(ours, theirs []byte, differs bool) Part {
	return Part{Ours: JSONOf(ours), Theirs: JSONOf(theirs), Differs: differs}
}

// JSONOf returns bytes as JSON, for people: themselves if they are JSON, a text, or the word
// base64 and a colon before what is neither. nil stays nil.
func JSONOf(data []byte) json.RawMessage {
	switch {
	case data == nil:
		return nil
	case events.CheckJSON(data) == nil:
		return data
	case utf8.Valid(data):
		return TextJSON(string(data))
	default:
		return TextJSON("base64:" + base64.StdEncoding.EncodeToString(data))
	}
}

// TextJSON returns a text as a JSON string.
func TextJSON(text string) json.RawMessage {
	data, _ := json.Marshal(text) // texts always have a form
	return data
}
