// Package plugged serves a connector of this module as a plugin does, over the lines of
// docs/plugins.md. It shares no code with the kind plugin, so that a test of both finds
// where they differ.
package plugged

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	concurrency = 8
	maxLine     = 64 << 20
)

// A Request is a document that a plugin gets.
type Request struct {
	ID         uint64          `json:"id"`
	Session    string          `json:"session"`
	Method     string          `json:"method"`
	DeadlineMS *int64          `json:"deadline_ms"`
	Deadline   int64           `json:"deadline"`
	Protocol   int             `json:"protocol"`
	Channel    string          `json:"channel"`
	Config     json.RawMessage `json:"config"`
	Attempts   []Attempt       `json:"attempts"`
	Keys       []string        `json:"keys"`
	After      string          `json:"after"`
	Limit      int             `json:"limit"`
}

// An Attempt is one element of attempts.
type Attempt struct {
	Key         string             `json:"key"`
	Version     versioning.Version `json:"version"`
	Op          events.Op          `json:"op"`
	Digest      versioning.Digest  `json:"digest"`
	ContentType string             `json:"content_type"`
	Payload     *string            `json:"payload"`
	Base64      []byte             `json:"payload_base64"`
	Number      int                `json:"attempt"`
	Again       bool               `json:"again"`
	Refs        connectors.Refs    `json:"refs"`
	Unsure      bool               `json:"unsure"`
}

// A Server answers with a connector of a kind.
type Server struct {
	Kind connectors.Kind
	Env  connectors.Env

	mu   sync.Mutex
	conn *connectors.Opened
}

// Serve answers the requests of a worker until its input ends.
func (s *Server) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	var answers sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	for lines.Scan() {
		var req Request
		if err := json.Unmarshal(lines.Bytes(), &req); err != nil {
			return err
		}
		wg.Go(func() {
			answer, err := json.Marshal(s.Answer(ctx, &req))
			if err != nil {
				panic(err)
			}
			answers.Lock()
			defer answers.Unlock()
			_, _ = out.Write(append(answer, '\n')) // whoever does not read is gone
		})
	}
	return lines.Err()
}

type document map[string]any

// Answer returns the answer to one request.
func (s *Server) Answer(ctx context.Context, req *Request) any {
	if req.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, time.UnixMilli(req.Deadline))
		defer cancel()
	}
	answer := document{"id": req.ID}
	err := s.fill(ctx, req, answer)
	if err != nil {
		answer["error"] = document{"class": connectors.ClassOf(err).String(), "code": "kind", "message": err.Error()}
	}
	return answer
}

func (s *Server) fill(ctx context.Context, req *Request, answer document) (err error) {
	switch req.Method {
	case "hello":
		can := s.Kind.Capabilities
		answer["protocol"], answer["kind"], answer["concurrency"] = 1, s.Kind.Name, concurrency
		answer["capabilities"] = document{
			"guard": can.Guard, "keeps_digest": can.KeepsDigest, "keeps_tombstone": can.KeepsTombstone,
			"probes": can.Probes, "reads": can.Reads, "lists": can.Lists, "remembers": can.Remembers,
		}
		return nil
	case "open":
		conn, err := connectors.Open(ctx, s.Kind, s.Env, req.Config)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conn = conn
		return err
	}
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	switch req.Method {
	case "apply":
		answer["results"] = apply(ctx, conn, req.Attempts)
	case "read":
		answer["held"], err = read(ctx, conn, req.Keys)
	case "list":
		answer["keys"], err = conn.List(ctx, req.After, req.Limit)
	case "probe":
		err = conn.Probe(ctx)
	case "close":
		err = conn.Close(ctx)
	}
	return err
}

func apply(ctx context.Context, conn *connectors.Opened, attempts []Attempt) []document {
	all := make([]connectors.Attempt, len(attempts))
	for i, a := range attempts {
		payload := a.Base64
		if a.Payload != nil {
			payload = []byte(*a.Payload)
		}
		all[i] = connectors.Attempt{
			Update: events.Update{Key: a.Key, Version: a.Version, Op: a.Op, Payload: payload, ContentType: a.ContentType},
			Digest: a.Digest, Number: a.Number, Again: a.Again, Refs: a.Refs, Unsure: a.Unsure,
		}
	}
	out := make([]document, 0, len(all))
	for size := conn.MaxBatch(); len(all) > 0; {
		n := min(size, len(all))
		for _, r := range conn.Apply(ctx, all[:n]) {
			d := document{"class": r.Class.String()}
			if r.Err != nil {
				d["code"], d["message"] = r.Code, r.Err.Error()
			}
			if !r.Held.IsZero() {
				d["held"] = document{"version": r.Held.Version, "digest": r.Held.Digest}
			}
			if r.RetryAfter > 0 {
				d["retry_after"] = r.RetryAfter.Seconds()
			}
			if len(r.Remember) > 0 {
				d["remember"] = r.Remember
			}
			if r.Response != "" {
				d["response"] = r.Response
			}
			out = append(out, d)
		}
		all = all[n:]
	}
	return out
}

func read(ctx context.Context, conn *connectors.Opened, keys []string) ([]any, error) {
	held, err := conn.Read(ctx, keys)
	out := make([]any, len(held))
	for i, h := range held {
		if !h.IsZero() {
			out[i] = document{"version": h.Version, "digest": h.Digest, "op": h.Op}
		}
	}
	return out, err
}
