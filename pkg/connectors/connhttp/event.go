package connhttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Headers of a request and of an answer that are not those of events.
const (
	// HeaderDigest carries the update's digest, 64 hexadecimal digits. A target that
	// refuses a version it already has may send back the digest it holds, beside
	// ce-entityversion, so that the same content is told from another one.
	HeaderDigest = "ce-entitydigest"
	// HeaderAttempt carries the number of the attempt, from 1.
	HeaderAttempt = "Extsync-Attempt"
	// headerIdempotency has lower case, as net/http takes a request with the usual
	// spelling for one that it may send again by itself. Attempts are for the
	// engine to count.
	headerIdempotency = "idempotency-key"
)

const (
	specVersion       = "1.0"
	structuredContent = "application/cloudevents+json"
)

// Names of headers as net/http spells them. Its Header.Set would make them of
// those in events for each request anew.
const (
	sentSpecVersion = "Ce-Specversion"
	sentID          = "Ce-Id"
	sentSource      = "Ce-Source"
	sentType        = "Ce-Type"
	sentSubject     = "Ce-Subject"
	sentVersion     = "Ce-Entityversion"
	sentOp          = "Ce-Op"
	sentBase        = "Ce-Baseversion"
	sentDigest      = "Ce-Entitydigest"
	sentTime        = "Ce-Time"
	sentTraceParent = "Traceparent"
	sentTraceState  = "Tracestate"
	sentContentType = "Content-Type"
)

// A headerField is one header of a request.
type headerField struct{ name, value string }

// maxFields is how many headers an update makes, besides those of the
// configuration.
const maxFields = 15

// appendEvent appends the attributes of an update as the HTTP binding of
// CloudEvents has them in binary mode.
func appendEvent(out []headerField, a *connectors.Attempt, t *texts) []headerField {
	for _, f := range [...]headerField{
		{sentSpecVersion, specVersion},
		{sentID, a.ID},
		{sentSource, a.Source},
		{sentType, a.Type},
		{sentSubject, a.Key},
		{sentVersion, t.version},
		{sentOp, string(a.Op)},
		{sentBase, t.base},
		{sentDigest, t.digest},
		{sentTime, t.time},
	} {
		if f.value != "" {
			f.value = escape(f.value, plainInHeader)
			out = append(out, f)
		}
	}
	return out
}

// texts are the text forms that an update's attributes have on the wire, "" for
// those it does not have.
type texts struct{ version, base, digest, time string }

// textsOf makes all texts in one piece of memory.
func textsOf(a *connectors.Attempt) texts {
	var buf [160]byte
	b := a.Version.AppendString(buf[:0])
	version := len(b)
	b = a.Base.AppendString(b)
	base := len(b)
	b = a.Digest.AppendString(b)
	digest := len(b)
	if !a.Time.IsZero() {
		b = a.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	}
	all := string(b)
	return texts{version: all[:version], base: all[version:base], digest: all[base:digest], time: all[digest:]}
}

// plainInHeader are the bytes that stand for themselves in the value of a
// CloudEvents header (HTTP binding, section 3.1.3.2).
var plainInHeader = bytesWhere(func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }) //nolint:gochecknoglobals // a constant that the language cannot express as one

// repetitionID returns the id by which a target recognises a request that it has
// had already: the update's, the same for all attempts. A replay or resync gets
// one that was never used, or the target would swallow it.
func repetitionID(a *connectors.Attempt, now time.Time) string {
	if !a.Again {
		return a.ID
	}
	return a.ID + "/again/" + strconv.FormatInt(now.UnixNano(), 36)
}

// appendContext appends what accompanies an update: the id by which repetitions
// are recognised, the number of the attempt, and the trace.
func appendContext(out []headerField, a *connectors.Attempt, id string) []headerField {
	out = append(out, headerField{headerIdempotency, id}, headerField{HeaderAttempt, strconv.Itoa(a.Number)})
	if a.TraceParent != "" {
		out = append(out, headerField{sentTraceParent, a.TraceParent})
		if a.TraceState != "" {
			out = append(out, headerField{sentTraceState, a.TraceState})
		}
	}
	return out
}

// An envelope is an update in the JSON format of CloudEvents. All of its
// extensions are strings, so that no reader takes a version for a float.
type envelope struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        string          `json:"time,omitempty"`
	ContentType string          `json:"datacontenttype,omitempty"`
	Version     string          `json:"entityversion"`
	Op          string          `json:"op"`
	Base        string          `json:"baseversion,omitempty"`
	Digest      string          `json:"entitydigest,omitempty"`
	TraceParent string          `json:"traceparent,omitempty"`
	TraceState  string          `json:"tracestate,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Binary      []byte          `json:"data_base64,omitempty"`
}

// structured returns an update as one JSON document. A payload that is not JSON
// travels in base64.
func structured(a *connectors.Attempt, t *texts) ([]byte, error) {
	e := envelope{
		SpecVersion: specVersion, ID: a.ID, Source: a.Source, Type: a.Type, Subject: a.Key, Time: t.time,
		Version: t.version, Op: string(a.Op), Base: t.base, Digest: t.digest,
		TraceParent: a.TraceParent, TraceState: a.TraceState,
	}
	if len(a.Payload) > 0 {
		e.ContentType = a.ContentType
		if events.IsJSON(a.ContentType) && events.CheckJSON(a.Payload) == nil {
			e.Data = a.Payload
		} else {
			e.Binary = a.Payload
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // the payload's characters stay as they are
	if err := enc.Encode(e); err != nil {
		// The cause could repeat the payload.
		return nil, fmt.Errorf("the update cannot be written as a CloudEvent (%T)", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
