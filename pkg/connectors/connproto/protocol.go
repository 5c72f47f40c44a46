// Package connproto is the protocol of plugins, for the kinds that speak it: the documents
// of docs/plugins.md, what they mean to the engine, and a connector that has a plugin do
// what it is asked to do. How documents go there and back is each kind's own.
package connproto

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Protocol is the version of the protocol that this package speaks.
const Protocol = 1

// Limits of what a plugin may answer.
const (
	// MaxAnswer is the most bytes of one answer. A plugin that answers more is ended.
	MaxAnswer = 8 << 20

	maxCode        = 64
	maxMessage     = 1 << 10
	mostConcurrent = 64
)

// The methods.
const (
	MethodHello = "hello"
	MethodOpen  = "open"
	MethodApply = "apply"
	MethodRead  = "read"
	MethodList  = "list"
	MethodProbe = "probe"
	MethodClose = "close"
)

// A helloParams is what is asked first.
type helloParams struct {
	Protocol int `json:"protocol"`
}

// openParams configure a session. Config holds the values of secrets.
type openParams struct {
	Channel      string         `json:"channel"`
	Config       map[string]any `json:"config"`
	Capabilities Capabilities   `json:"capabilities"`
}

type applyParams struct {
	Attempts []attempt `json:"attempts"`
}

type readParams struct {
	Keys []string `json:"keys"`
}

type listParams struct {
	After string `json:"after"`
	Limit int    `json:"limit"`
}

// An attempt is a connectors.Attempt as a plugin sees it.
type attempt struct {
	Key         string             `json:"key"`
	Version     versioning.Version `json:"version"`
	Op          events.Op          `json:"op"`
	Digest      versioning.Digest  `json:"digest"`
	ContentType string             `json:"content_type,omitempty"`
	// Payload is a payload that is UTF-8, as it is; Base64 is any other.
	Payload *string         `json:"payload,omitempty"`
	Base64  []byte          `json:"payload_base64,omitempty"`
	Number  int             `json:"attempt"`
	Again   bool            `json:"again,omitempty"`
	Refs    connectors.Refs `json:"refs,omitempty"`
	Unsure  bool            `json:"unsure,omitempty"`
}

func newAttempt(a *connectors.Attempt) attempt {
	out := attempt{
		Key: a.Key, Version: a.Version, Op: a.Op, Digest: a.Digest, ContentType: a.ContentType,
		Number: a.Number, Again: a.Again, Refs: a.Refs, Unsure: a.Unsure,
	}
	switch {
	case a.Op == events.Delete && len(a.Payload) == 0:
	case utf8.Valid(a.Payload):
		text := string(a.Payload)
		out.Payload = &text
	default:
		out.Base64 = a.Payload
	}
	return out
}

// NewSession returns a name for a session that no other has.
func NewSession() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// EncodeParams returns the members of params as they stand behind others in a request.
func EncodeParams(params any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(params); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(bytes.TrimPrefix(b.Bytes(), []byte("{")), []byte("}\n")), nil
}

// AppendRequest appends a request, one line without its end. The time that is left for it
// is that from now.
func AppendRequest(out []byte, id uint64, session, method string, deadline time.Time, params []byte) []byte {
	out = append(out, `{"id":`...)
	out = strconv.AppendUint(out, id, 10)
	out = append(out, `,"session":"`...)
	out = append(out, session...)
	out = append(out, `","method":"`...)
	out = append(out, method...)
	out = append(out, '"')
	if !deadline.IsZero() {
		out = append(out, `,"deadline_ms":`...)
		out = strconv.AppendInt(out, max(0, time.Until(deadline).Milliseconds()), 10)
		out = append(out, `,"deadline":`...)
		out = strconv.AppendInt(out, deadline.UnixMilli(), 10)
	}
	if len(params) > 0 {
		out = append(append(out, ','), params...)
	}
	return append(out, '}')
}

// An Answer is what a plugin says to a request.
type Answer struct {
	ID    uint64   `json:"id"`
	Error *failure `json:"error"`
	// Method is of a request: what repeats its input, as cat does, is no plugin.
	Method string `json:"method"`

	// of hello
	Protocol     int             `json:"protocol"`
	Kind         string          `json:"kind"`
	Capabilities Capabilities    `json:"capabilities"`
	Concurrency  int             `json:"concurrency"`
	Schema       json.RawMessage `json:"schema"`

	Results []result `json:"results"` // of apply
	Held    []*held  `json:"held"`    // of read: null for a key that is not there
	Keys    []string `json:"keys"`    // of list
}

// A failure says why a request came to nothing.
type failure struct {
	Class   string `json:"class"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// A held is what the target holds of a key.
type held struct {
	Version versioning.Version `json:"version"`
	Digest  versioning.Digest  `json:"digest"`
	Op      events.Op          `json:"op"`
}

// A result is what came of one attempt.
type result struct {
	failure
	Held       *held           `json:"held"`
	RetryAfter float64         `json:"retry_after"` // seconds
	Remember   connectors.Refs `json:"remember"`
	Response   string          `json:"response"`
}

// classAccepted is that of an update which the target took over and works on later: until
// confirmations exist it is as delivered.
const classAccepted = "accepted"

func parseClass(name string) (connectors.Class, error) {
	if name == classAccepted {
		return connectors.OK, nil
	}
	for class := connectors.Transient; class <= connectors.Unready; class++ {
		if class.String() == name {
			return class, nil
		}
	}
	return connectors.Transient, fmt.Errorf("the plugin's class %q is none", connectors.Clip(name, maxCode))
}

// errProtocol says that a plugin does not keep to the protocol.
var errProtocol = errors.New("the plugin does not keep to the protocol")

// codeProtocol is the code of a failure by such a plugin.
const codeProtocol = "protocol"

// Violation returns the error of a plugin that does not keep to the protocol.
func Violation(format string, args ...any) error {
	return &connectors.Error{Code: codeProtocol, Err: fmt.Errorf("%w: "+format, append([]any{errProtocol}, args...)...)}
}

// ParseAnswer reads an answer. It may be kept: it shares nothing with line.
func ParseAnswer(line []byte) (*Answer, error) {
	a := new(Answer)
	if err := json.Unmarshal(line, a); err != nil {
		// The error of the decoder may repeat what the plugin wrote.
		return nil, Violation("what it wrote is no answer in JSON on one line (%d bytes)", len(line))
	}
	if a.Method != "" {
		return nil, Violation("it repeats what it is asked")
	}
	return a, nil
}
