package connhttp

import (
	"errors"
	"net/http"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// How much of an answer is read, in bytes, before it is decompressed and after it was.
const (
	maxBody = 64 << 10
	// maxRuledBody is for answers whose body a rule reads.
	maxRuledBody = 1 << 20
)

// A reply is an answer of which as much was read as may be.
type reply struct {
	status int
	header http.Header
	body   []byte // decompressed
	cut    bool   // it goes on behind body
	// broken: the answer ended before its end. unreadable: its content coding is unknown,
	// or the body is not what it says. One at most is set.
	broken, unreadable error
	by                 *answerRule // that decided

	document any // of body, once parse has read it
	odd      error
	parsed   bool
}

// readReply reads an answer; most bounds its body, in bytes.
func readReply(answer *http.Response, most int) *reply {
	r := &reply{status: answer.StatusCode, header: answer.Header}
	body, cut, err := httpkit.ReadBody(answer, most)
	r.body, r.cut = body, cut
	if errors.Is(err, httpkit.ErrEncoding) {
		r.unreadable = err
	} else {
		r.broken = err
	}
	return r
}

// errCut says that an answer is too long to be read as JSON.
var errCut = errors.New("the answer is longer than what is read of it")

// errNotJSON says that an answer has a body, and that it is no JSON.
var errNotJSON = errors.New("the answer is not JSON")

// parse returns the JSON document in the body, null if it is empty, or errNotJSON. It reads
// the body once.
func (r *reply) parse() (any, error) {
	if !r.parsed {
		r.parsed = true
		if doc, err := document(r.body); err != nil {
			r.odd = errNotJSON
		} else {
			r.document = doc
		}
	}
	return r.document, r.odd
}

// unfit returns why a rule that reads the body, or its text, cannot decide by it; nil if
// it can.
func (r *reply) unfit(readsBody, readsText bool) error {
	switch {
	case (readsBody || readsText) && r.unreadable != nil:
		return r.unreadable
	case readsBody && r.cut:
		return errCut
	default:
		return nil
	}
}

// input returns what the rules see of the answer to an attempt.
func (r *reply) input(a *connectors.Attempt) map[string]any {
	headers := make(map[string]any, len(r.header))
	for name, values := range r.header {
		headers[strings.ToLower(name)] = valid(strings.Join(values, ", "))
	}
	body, _ := r.parse() // null if it is none
	ref := make(map[string]any, len(a.Refs))
	for name, value := range a.Refs {
		ref[name] = value
	}
	return map[string]any{
		"ref": ref,
		"op":  string(a.Op), "attempt": a.Number, "status": r.status, "headers": headers, "body": body, "text": valid(string(r.body)),
	}
}

// valid returns a text in UTF-8, as jq's are.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
