package connkafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// The headers of a record are the attributes of CloudEvents under the names that its Kafka
// binding has. All are texts: versions go beyond what a float holds, and may be times.
const (
	headerKey         = "ce_subject"
	headerVersion     = "ce_entityversion"
	headerDigest      = "ce_entitydigest"
	headerOp          = "ce_op"
	headerBase        = "ce_baseversion"
	headerSpec        = "ce_specversion"
	headerID          = "ce_id"
	headerSource      = "ce_source"
	headerType        = "ce_type"
	headerTime        = "ce_time"
	headerContentType = "content-type"

	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
)

// A tombstone is the value of a delete that brings none.
type tombstone struct {
	Key     string    `json:"key"`
	Version string    `json:"version"`
	Op      events.Op `json:"op"`
}

// record returns what an attempt is written as. It has a copy of the payload: the client may
// hold it when the call is over.
func (c *Config) record(a *connectors.Attempt) *kgo.Record {
	contentType := a.ContentType
	value := bytes.Clone(a.Payload)
	switch {
	case a.Op == events.Delete && c.Deletes == deleteAsNull:
		value, contentType = nil, ""
	case a.Op == events.Delete && len(value) == 0:
		value, _ = json.Marshal(tombstone{a.Key, a.Version.String(), a.Op}) // texts only: it never fails
		contentType = "application/json"
	case value == nil:
		value = []byte{} // null would be a tombstone of Kafka's
	}
	r := &kgo.Record{Topic: c.Topic, Key: []byte(a.Key), Value: value, Headers: make([]kgo.RecordHeader, 0, 13)}
	at := ""
	if !a.Time.IsZero() {
		at = a.Time.UTC().Format(time.RFC3339Nano)
	}
	for _, h := range [...]struct{ name, value string }{
		{headerSpec, "1.0"},
		{headerID, a.ID},
		{headerSource, a.Source},
		{headerType, a.Type},
		{headerKey, a.Key},
		{headerVersion, a.Version.String()},
		{headerDigest, a.Digest.String()},
		{headerOp, string(a.Op)},
		{headerBase, a.Base.String()},
		{headerTime, at},
		{headerContentType, contentType},
		{headerTraceParent, a.TraceParent},
		{headerTraceState, a.TraceState},
	} {
		if h.value != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.name, Value: []byte(h.value)})
		}
	}
	return r
}

// frame is more than a batch of one record has besides the record's own bytes.
const frame = 128

// size returns the bytes that a record takes in a batch, or a few more.
func size(r *kgo.Record) int {
	n := frame + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 6
	}
	return n
}

// tooLarge says that a record is larger than the configuration lets it be, nil if it is not.
func (c *Config) tooLarge(r *kgo.Record) error {
	if n := size(r); n > c.MaxRecordBytes {
		return fmt.Errorf("the record has %d bytes, and max_record_bytes is %d", n, c.MaxRecordBytes)
	}
	return nil
}
