package faults

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// WorkerHeader is the header in which a worker tells a target its name. Channels
// set it by a reference to the environment variable WorkerVariable.
const (
	WorkerHeader   = "Faults-Worker"
	WorkerVariable = "CHANNEL_FAULTS_WORKER"
)

// HTTPOptions say what kind of target it is.
type HTTPOptions struct {
	// Guarded: a version older than the one held is refused with 412 and the held
	// version, and so is another content of the same version with 409. Otherwise
	// everything is applied as it comes.
	Guarded bool
	// Seed decides which calls the rates of Trouble hit. The same call of the same
	// version always fares the same.
	Seed uint64
}

// An HTTPTarget is an external system behind HTTP that keeps every write it
// applied and every call it saw. It runs in the test's process, so it outlives
// every worker that a test kills. It is safe for concurrent use.
type HTTPTarget struct {
	o      HTTPOptions
	server *httptest.Server
	start  time.Time

	mu      sync.Mutex
	trouble Trouble
	holds   map[string]chan struct{} // by key; "" holds every key
	onWrite func(Write)
	tries   map[string]uint64 // calls of each version so far
	writes  []Write
	calls   []Call
	open    int // calls in flight
	most    int // ... at once, ever
	held    map[string]versioning.Tag
	changed chan struct{} // closed at the next call's end
}

// NewHTTPTarget starts a target that ends with the test.
func NewHTTPTarget(t testing.TB, o HTTPOptions) *HTTPTarget {
	t.Helper()
	tg := &HTTPTarget{
		o: o, start: time.Now(), holds: map[string]chan struct{}{}, tries: map[string]uint64{},
		held: map[string]versioning.Tag{}, changed: make(chan struct{}),
	}
	tg.server = httptest.NewServer(http.HandlerFunc(tg.serve))
	t.Cleanup(func() {
		tg.server.CloseClientConnections() // a call that hangs ends with its caller
		tg.server.Close()
	})
	return tg
}

// URL is where updates go.
func (tg *HTTPTarget) URL() string { return tg.server.URL + "/{key}" }

// Connector returns the configuration of a channel's http connector to this
// target. Workers need WorkerVariable in their environment.
func (tg *HTTPTarget) Connector() map[string]any {
	return map[string]any{
		"url": tg.URL(), "allow_cidrs": []string{"127.0.0.0/8"},
		"headers": map[string]string{WorkerHeader: "${env:" + WorkerVariable + "}"},
	}
}

// History returns what the target has seen up to now. Calls that are still in
// flight are left out.
func (tg *HTTPTarget) History() History {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	calls := slices.DeleteFunc(slices.Clone(tg.calls), func(c Call) bool { return c.To == 0 })
	return History{Writes: slices.Clone(tg.writes), Calls: calls, Held: maps.Clone(tg.held)}
}

// Now is the target's time, as in its history.
func (tg *HTTPTarget) Now() time.Duration { return time.Since(tg.start) }

// Counts returns how many calls came, how many writes were applied, and how many
// calls were in flight at once at most.
func (tg *HTTPTarget) Counts() (calls, writes, most int) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return len(tg.calls), len(tg.writes), tg.most
}

// Await waits until the history so far fulfils a condition, which is asked again
// after each call. It reports false if ctx ends first.
func (tg *HTTPTarget) Await(ctx context.Context, holds func(History) bool) bool {
	for {
		tg.mu.Lock()
		changed := tg.changed
		tg.mu.Unlock()
		if holds(tg.History()) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// serve is one call. What is decided under mu is decided at once: apply is the
// moment at which a version becomes part of the target.
func (tg *HTTPTarget) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // only then the server notices that the caller hangs up
	if err != nil {
		return // cut before the request was whole: the target knows nothing of it
	}
	in, err := readRequest(r, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	call, fate, hold := tg.arrive(in)
	answer := tg.answer(w, r.Context(), in, fate, hold)
	tg.leave(call, answer)
	if answer == answerCut {
		cut(w)
	}
}

// request is what a call asks for.
type request struct {
	Write
	body []byte
}

func readRequest(r *http.Request, body []byte) (request, error) {
	v, err := versioning.Parse(r.Header.Get(events.HeaderVersion))
	if err != nil {
		return request{}, err
	}
	key, err := url.PathUnescape(r.Header.Get(events.HeaderSubject))
	if err != nil {
		return request{}, err
	}
	attempt, err := strconv.Atoi(r.Header.Get("Extsync-Attempt"))
	if err != nil {
		return request{}, err
	}
	op := r.Header.Get(events.HeaderOp)
	return request{body: body, Write: Write{
		Key: key, Op: events.Op(op), Worker: r.Header.Get(WorkerHeader), Attempt: attempt,
		// What came is what counts, not what the sender says came.
		Tag: versioning.Tag{Version: v, Digest: versioning.Sum(op, body)},
	}}, nil
}

// arrive notes a call and decides its fate.
func (tg *HTTPTarget) arrive(in request) (call int, f fate, hold chan struct{}) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.calls = append(tg.calls, Call{
		Key: in.Key, Version: in.Version, Worker: in.Worker, Attempt: in.Attempt, From: tg.Now(),
	})
	tg.open++
	tg.most = max(tg.most, tg.open)
	id := in.Key + " " + in.Version.String()
	tg.tries[id]++
	hold = tg.holds[in.Key]
	if hold == nil {
		hold = tg.holds[""]
	}
	return len(tg.calls) - 1, tg.trouble.decide(tg.o.Seed, id, tg.tries[id]), hold
}

func (tg *HTTPTarget) leave(call int, answer string) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.calls[call].To, tg.calls[call].Answer = tg.Now(), answer
	tg.open--
	close(tg.changed)
	tg.changed = make(chan struct{})
}

// Answers that are no status.
const (
	answerGone = "gone" // the caller hung up before anything was done
	answerCut  = "cut"  // the connection is cut instead of an answer
)

// answer lets a call meet its fate and returns what the target did.
func (tg *HTTPTarget) answer(w http.ResponseWriter, ctx context.Context, in request, f fate, hold chan struct{}) string {
	if !pause(ctx, f.delay, hold) {
		return answerGone
	}
	switch {
	case f.refuse:
		return answerCut
	case f.fail:
		return reply(w, http.StatusServiceUnavailable)
	}
	held, status, onWrite := tg.apply(&in.Write)
	if status != http.StatusOK {
		w.Header().Set(events.HeaderVersion, held.Version.String())
		w.Header().Set("ce-entitydigest", held.Digest.String())
		return reply(w, status)
	}
	if onWrite != nil {
		onWrite(in.Write)
	}
	if f.cut {
		return answerCut
	}
	return reply(w, status)
}

// apply makes a version part of the target, or refuses it if the target guards
// itself.
func (tg *HTTPTarget) apply(in *Write) (held versioning.Tag, status int, onWrite func(Write)) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	held = tg.held[in.Key]
	if tg.o.Guarded {
		switch {
		case newer(held.Version, in.Version):
			return held, http.StatusPreconditionFailed, nil
		case held.Version == in.Version && held.Digest != in.Digest:
			return held, http.StatusConflict, nil
		}
	}
	in.At = tg.Now()
	tg.writes = append(tg.writes, *in)
	tg.held[in.Key] = in.Tag
	return held, http.StatusOK, tg.onWrite
}

func reply(w http.ResponseWriter, status int) string {
	w.WriteHeader(status)
	return strconv.Itoa(status)
}

// cut ends the connection without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close() // that is the point
	}
}

// pause waits for a delay and for a hold to be let go. It reports false if the
// caller hung up.
func pause(ctx context.Context, delay time.Duration, hold chan struct{}) bool {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}
