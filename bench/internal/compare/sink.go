package compare

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// SinkOptions say how the HTTP target behaves.
type SinkOptions struct {
	Delay time.Duration `json:"delay,omitempty"` // before each answer
	// FailTenth lets the calls for every tenth key fail.
	FailTenth bool `json:"fail_tenth,omitempty"`
}

// failing reports whether a key is one of those that FailTenth means.
func failing(key string) bool { return strings.HasSuffix(key, "0") }

// sinkState is what a sink tells about itself.
type sinkState struct {
	Applied     int       `json:"applied"`     // writes
	Newest      int64     `json:"newest"`      // sum of the newest versions of all keys
	Failing     int64     `json:"failing"`     // part of Newest: of the keys that FailTenth means
	Regressions int       `json:"regressions"` // writes that were older than the one before
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	LastOther   time.Time `json:"last_other"` // of the keys that FailTenth does not mean
}

// A call is one request that a sink has seen.
type call struct {
	Channel string             `json:"c"`
	Key     string             `json:"k"`
	Version versioning.Version `json:"v"`
	Digest  versioning.Digest  `json:"d"`
	Op      events.Op          `json:"o"`
	From    time.Duration      `json:"f"`
	To      time.Duration      `json:"t"`
	Applied bool               `json:"a"`
}

// A place is a key of a channel.
type place struct{ channel, key string }

// A sink is an external system behind HTTP that applies everything at once and
// remembers all of it.
type sink struct {
	o     SinkOptions
	start time.Time

	mu     sync.Mutex
	state  sinkState
	newest map[place]int64
	calls  []call
}

func runSink(ctx context.Context, o SinkOptions, ready func(string) error) error {
	s := &sink{o: o, start: time.Now(), newest: map[place]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /u/{channel}", s.serve)
	mux.HandleFunc("GET /state", s.writeState)
	mux.HandleFunc("GET /calls", s.writeCalls)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve tells
	if err := ready("http://" + l.Addr().String()); err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *sink) serve(w http.ResponseWriter, r *http.Request) {
	from := time.Since(s.start)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut before it was whole
	}
	v, err := versioning.Parse(r.Header.Get(events.HeaderVersion))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	op := r.Header.Get(events.HeaderOp)
	c := call{Channel: r.PathValue("channel"), Key: r.Header.Get(events.HeaderSubject), Version: v, Op: events.Op(op), Digest: versioning.Sum(op, body), From: from}
	if s.o.Delay > 0 {
		time.Sleep(s.o.Delay) // the target is slow
	}
	c.Applied = !s.o.FailTenth || !failing(c.Key)
	if !s.note(&c) {
		http.Error(w, "version is not a number", http.StatusBadRequest)
		return
	}
	if !c.Applied {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// note applies a call.
func (s *sink) note(c *call) bool {
	n, ok := c.Version.Int64()
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.To = time.Since(s.start)
	s.calls = append(s.calls, *c)
	if !c.Applied {
		return true
	}
	s.state.Last = time.Now()
	if s.state.Applied == 0 {
		s.state.First = s.state.Last
	}
	s.state.Applied++
	if !failing(c.Key) {
		s.state.LastOther = s.state.Last
	}
	at := place{c.Channel, c.Key}
	if before := s.newest[at]; n >= before {
		s.newest[at] = n
		s.state.Newest += n - before
		if failing(c.Key) {
			s.state.Failing += n - before
		}
	} else {
		s.state.Regressions++
	}
	return true
}

func (s *sink) writeState(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(state) // the caller notices
}

func (s *sink) writeCalls(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(s.calls) // the caller notices
}

// fetch reads one of a sink's answers.
func fetch(ctx context.Context, url string, v any) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	return json.NewDecoder(res.Body).Decode(v)
}
