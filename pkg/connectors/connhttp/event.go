package connhttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
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

// setEvent puts the attributes of an update into headers, as the HTTP binding of
// CloudEvents has them in binary mode.
func setEvent(h http.Header, a *connectors.Attempt) {
	set := func(name, value string) {
		if value != "" {
			h.Set(name, escape(value, plainInHeader))
		}
	}
	set(events.HeaderSpecVersion, specVersion)
	set(events.HeaderID, a.ID)
	set(events.HeaderSource, a.Source)
	set(events.HeaderType, a.Type)
	set(events.HeaderSubject, a.Key)
	set(events.HeaderVersion, a.Version.String())
	set(events.HeaderOp, string(a.Op))
	set(events.HeaderBase, a.Base.String())
	set(HeaderDigest, a.Digest.String())
	if !a.Time.IsZero() {
		set(events.HeaderTime, a.Time.UTC().Format(time.RFC3339Nano))
	}
}

// plainInHeader reports whether a byte stands for itself in the value of a
// CloudEvents header (HTTP binding, section 3.1.3.2).
func plainInHeader(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

// repetitionID returns the id by which a target recognises a request that it has
// had already: the update's, the same for all attempts. A replay or resync gets
// one that was never used, or the target would swallow it.
func repetitionID(a *connectors.Attempt, now time.Time) string {
	if !a.Again {
		return a.ID
	}
	return a.ID + "/again/" + strconv.FormatInt(now.UnixNano(), 36)
}

// setContext puts what accompanies an update into headers: the id by which
// repetitions are recognised, the number of the attempt, and the trace.
func setContext(h http.Header, a *connectors.Attempt, id string) {
	h[headerIdempotency] = []string{id}
	h.Set(HeaderAttempt, strconv.Itoa(a.Number))
	if a.TraceParent != "" {
		h.Set(events.HeaderTraceParent, a.TraceParent)
		if a.TraceState != "" {
			h.Set(events.HeaderTraceState, a.TraceState)
		}
	}
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
func structured(a *connectors.Attempt) ([]byte, error) {
	e := envelope{
		SpecVersion: specVersion, ID: a.ID, Source: a.Source, Type: a.Type, Subject: a.Key,
		Version: a.Version.String(), Op: string(a.Op), Base: a.Base.String(), Digest: a.Digest.String(),
		TraceParent: a.TraceParent, TraceState: a.TraceState,
	}
	if !a.Time.IsZero() {
		e.Time = a.Time.UTC().Format(time.RFC3339Nano)
	}
	if len(a.Payload) > 0 {
		e.ContentType = a.ContentType
		if isJSON(a.ContentType) && json.Valid(a.Payload) {
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

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}
