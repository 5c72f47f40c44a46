package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/sleep"
)

const (
	// eventGap is how far apart two events with rows are at least.
	eventGap = 500 * time.Millisecond
	// eventsSilent is after how long without an event a reader gets a line: balancers cut silent
	// connections.
	eventsSilent = 15 * time.Second
)

type eventsInput struct {
	LastID string `header:"Last-Event-ID" doc:"Tell of what has changed since this event"`
	Since  string `query:"since" maxLength:"40" doc:"The same, as at of GET /v1/overview. Without either, of what changes from now on"`
}

// begin returns since when changes are told; zero: from now on.
func (in *eventsInput) begin() (time.Time, error) {
	if at, err := strconv.ParseInt(in.LastID, 10, 64); err == nil && at > 0 {
		return time.Unix(0, at), nil
	}
	if in.Since == "" {
		return time.Time{}, nil
	}
	since, err := time.Parse(time.RFC3339Nano, in.Since)
	if err != nil {
		return time.Time{}, invalid(FieldError{Location: "query.since", Message: "it is no RFC 3339 time"})
	}
	return since, nil
}

func (s *server) eventsRoute() {
	register(s, route{
		id: "follow-events", method: http.MethodGet, path: "/v1/events", tag: "Installation",
		summary: "Follow how channels stand and what people do, as server-sent events", rule: read, status: http.StatusOK,
		responses: map[string]*huma.Response{"200": {
			Description: "Events of type hello (at, version), rows (at, rows, gone, totals: the rows of the overview that have changed, at most 200, twice a second at most), activity (records) and jobs (jobs)",
			Content:     map[string]*huma.MediaType{eventStreamType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, func(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		since, err := in.begin()
		if err != nil {
			return nil, err
		}
		looking, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		snapshot, err := s.board.Look(looking)
		if err != nil {
			return nil, err
		}
		c := callerOf(ctx)
		f := &operate.Follower{Allows: c.allows, Sees: seesOf(c)}
		f.Begin(snapshot, since)
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			_, w := humago.Unwrap(hctx)
			if err := s.followEvents(hctx.Context(), w, f, snapshot); err != nil {
				s.o.Logger.Debug().Err(err).Msg("events are followed no more")
			}
		}}, nil
	})
}

// followEvents returns when the client has gone, its token is no longer valid, or the process ends.
// While nobody follows, nobody looks: each reader asks the board, which asks the broker once for
// all of them.
func (s *server) followEvents(ctx context.Context, w http.ResponseWriter, f *operate.Follower, snapshot *operate.Snapshot) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.o.Draining, cancel)()
	c := callerOf(ctx)
	out := &eventWriter{send: beginEvents(w)}
	if err := out.event("hello", "", map[string]any{"at": snapshot.At, "version": s.o.Version}); err != nil {
		return err
	}
	for {
		if !s.valid(c) {
			return errInvalidated
		}
		if err := s.sendChanges(ctx, out, c, f, snapshot); err != nil {
			return err
		}
		if time.Since(out.last) >= eventsSilent {
			if err := out.comment("still here"); err != nil {
				return err
			}
		}
		if !sleep.For(ctx, max(eventGap, time.Until(snapshot.Until()))) {
			return ctx.Err()
		}
		// A broker that is away ends no stream: nothing comes, and a line says that we are there.
		next, err := s.lookFor(ctx, out)
		if err != nil {
			return err
		}
		if next != nil {
			snapshot = next
		} else if !sleep.For(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// lookFor looks at the board, and tells a reader that we are there where that takes long. It
// returns nil where there was nothing to be seen, and fails if the reader has gone.
func (s *server) lookFor(ctx context.Context, out *eventWriter) (*operate.Snapshot, error) {
	looked := make(chan *operate.Snapshot, 1)
	go func() {
		snapshot, err := s.board.Look(ctx)
		if err != nil {
			snapshot = nil
		}
		looked <- snapshot
	}()
	for {
		silent := time.NewTimer(time.Until(out.last.Add(eventsSilent)))
		select {
		case snapshot := <-looked:
			silent.Stop()
			return snapshot, nil
		case <-silent.C:
			if err := out.comment("still here"); err != nil {
				return nil, err
			}
		}
	}
}

// sendChanges sends what has changed up to a snapshot.
func (s *server) sendChanges(ctx context.Context, out *eventWriter, c *caller, f *operate.Follower, snapshot *operate.Snapshot) error {
	portions := f.Rows(snapshot)
	for i := range portions {
		if i > 0 && !sleep.For(ctx, eventGap) {
			return ctx.Err()
		}
		id := "" // who is cut off before the last portion gets all of them again
		if i == len(portions)-1 {
			id = strconv.FormatInt(snapshot.At.UnixNano(), 10)
		}
		if err := out.event("rows", id, &portions[i]); err != nil {
			return err
		}
	}
	if acts := f.Acts(snapshot); len(acts) > 0 {
		hideErrors(c, acts)
		if err := out.event("activity", "", map[string]any{"records": acts}); err != nil {
			return err
		}
	}
	if jobs := f.Jobs(snapshot); len(jobs) > 0 {
		return out.event("jobs", "", map[string]any{"jobs": jobs})
	}
	return nil
}

// errInvalidated ends a stream.
var errInvalidated = errors.New("the token or the login is no longer valid")

// beginEvents begins an answer of server-sent events, and returns what sends a part of it.
func beginEvents(w http.ResponseWriter) (send func(text string) error) {
	w.Header().Set("Content-Type", eventStreamType)
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	return func(text string) error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // the server's writer can
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return rc.Flush()
	}
}

// An eventWriter writes server-sent events.
type eventWriter struct {
	send func(text string) error
	last time.Time // when something was sent
}

// event sends an event whose data is JSON, which has no line breaks.
func (w *eventWriter) event(name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	head := "event: " + name + "\n"
	if id != "" {
		head = "id: " + id + "\n" + head
	}
	w.last = time.Now()
	return w.send(head + "data: " + string(text) + "\n\n")
}

func (w *eventWriter) comment(text string) error {
	w.last = time.Now()
	return w.send(": " + text + "\n\n")
}
