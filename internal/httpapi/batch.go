package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/internal/draft"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	batchSuffix = "/updates:batch"
	ndjsonType  = "application/x-ndjson"
	// batchWindow bounds the bytes, batchAhead the lines, and batchWorkers the
	// publishes of one request that are on their way at once.
	batchWindow  = 16 << 20
	batchAhead   = 1024
	batchWorkers = 32
)

type batchInput struct {
	Channel string `path:"channel" maxLength:"63"`
}

func (s *server) batchRoute() {
	register(s, s.batchOf(route{id: "publish-batch", path: "/v1/channels/{channel}" + batchSuffix, summary: "Publish many updates, one JSON object a line"}),
		func(_ context.Context, in *batchInput) (*huma.StreamResponse, error) {
			return s.batching(events.ToChannel(in.Channel)), nil
		})
}

// batchOf completes a route that takes batches.
func (s *server) batchOf(r route) route {
	schemas := s.api.OpenAPI().Components.Schemas
	line := func(desc string, schema *huma.Schema) map[string]*huma.MediaType {
		schema.Description = desc
		return map[string]*huma.MediaType{ndjsonType: {Schema: &huma.Schema{Type: huma.TypeString, Description: desc}}}
	}
	r.method, r.tag, r.rule, r.status = http.MethodPost, "Updates", publishing, http.StatusOK
	r.body = &huma.RequestBody{Required: true, Content: line("Updates as for /updates, one a line", huma.SchemaFromType(schemas, typeOf[UpdateBody]()))}
	r.responses = map[string]*huma.Response{"200": {
		Description: "A result for each line, in their order, while lines are still sent",
		Content:     line("Results, one a line", huma.SchemaFromType(schemas, typeOf[Result]())),
	}}
	return r
}

// batching returns what answers a batch.
func (s *server) batching(route events.Route) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		s.batch(ctx.Context(), route, r, w)
	}}
}

// A job is a line on its way to its result.
type job struct {
	line   int
	data   []byte
	weight int64
	draft  drafted
	result Result
	done   chan struct{}
}

// batch reads lines, publishes them side by side but for those of one key, and
// writes results in the order of the lines. What is on the way is bounded, so a
// client that does not read is not read from.
func (s *server) batch(ctx context.Context, route events.Route, r *http.Request, w http.ResponseWriter) {
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
		s.problemOf(fmt.Errorf("read and write at once: %w", err)).write(w)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.Header().Set("Content-Type", ndjsonType)
	w.WriteHeader(http.StatusOK)

	b := &batching{s: s, route: route, room: semaphore.NewWeighted(batchWindow), order: make(chan *job, batchAhead)}
	var workers sync.WaitGroup
	for i := range b.lanes {
		b.lanes[i] = make(chan *job, batchAhead/batchWorkers)
		workers.Go(func() { b.work(ctx, b.lanes[i]) })
	}
	workers.Go(func() {
		defer b.close()
		b.read(ctx, rc, r.Body)
	})
	b.write(rc, w, cancel)
	workers.Wait()
}

type batching struct {
	s     *server
	route events.Route
	room  *semaphore.Weighted
	lanes [batchWorkers]chan *job
	order chan *job
}

func (b *batching) close() {
	for _, lane := range b.lanes {
		close(lane)
	}
	close(b.order)
}

func (b *batching) read(ctx context.Context, rc *http.ResponseController, body io.Reader) {
	lines := bufio.NewReaderSize(body, 64<<10)
	for n := 1; ; n++ {
		_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // the server's writer can
		data, tooLong, err := readLine(lines, int(b.s.maxBody))
		if len(data) == 0 && err != nil {
			if !errors.Is(err, io.EOF) {
				b.put(ctx, &job{line: n, done: closed(), result: Result{}.failed(problem(http.StatusBadRequest, "cut_off", "the request ended in the middle"))})
			}
			return
		}
		j := &job{line: n, data: data, weight: min(int64(len(data)), batchWindow), done: make(chan struct{})}
		if b.room.Acquire(ctx, j.weight) != nil {
			return
		}
		if tooLong {
			j.result = Result{}.failed(problem(http.StatusRequestEntityTooLarge, "too_large", "the line is too long"))
			close(j.done)
			j.data = nil
		} else {
			j.draft.Draft = draft.Request(data)
		}
		if !b.put(ctx, j) || err != nil {
			return
		}
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// put gives a line to the worker of its key. Its place in the order is taken
// first: a result is never written before that of an earlier line.
func (b *batching) put(ctx context.Context, j *job) bool {
	select {
	case b.order <- j:
	case <-ctx.Done():
		return false
	}
	if j.draft.Draft == nil {
		return true
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, j.draft.Key) // a hash never fails to write
	select {
	case b.lanes[h.Sum32()%batchWorkers] <- j:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *batching) work(ctx context.Context, lane <-chan *job) {
	for j := range lane {
		j.result = b.publish(ctx, j)
		j.draft, j.data = drafted{}, nil
		close(j.done)
	}
}

// publish waits for its turn where a single request would be told to come again:
// not reading on is how a stream is slowed down.
func (b *batching) publish(ctx context.Context, j *job) Result {
	// A line counts whatever it is: a few bytes of gzip can be millions of bad ones.
	b.wait(ctx, callerOf(ctx).limiter)
	u, p := j.draft.update(b.s.o.Client.Names, b.route)
	if p != nil {
		return Result{}.failed(p)
	}
	b.wait(ctx, b.s.channels.get(b.route).limiter)
	if b.s.o.Draining.Err() != nil {
		return Result{}.failed(b.s.problemOf(fmt.Errorf("this instance is stopping; send the line again: %w", context.Canceled)))
	}
	return b.s.publish(ctx, u, 0, false)
}

// wait waits for a turn. If none comes, the next look at the context says why.
func (b *batching) wait(ctx context.Context, l *rate.Limiter) {
	if l == nil {
		return
	}
	ctx, done := b.s.waiting(ctx, time.Hour)
	defer done()
	_ = l.Wait(ctx)
}

// write writes results until there are no more, or nobody reads them.
func (b *batching) write(rc *http.ResponseController, w io.Writer, cancel func()) {
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	gone := false
	flush := func() {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // the server's writer can
		if !gone && (out.Flush() != nil || rc.Flush() != nil) {
			gone = true
			cancel()
		}
	}
	for j := range b.order {
		select {
		case <-j.done:
		default:
			flush() // nothing is kept from a client while we wait
			if gone {
				continue
			}
			<-j.done
		}
		b.room.Release(j.weight)
		j.result.Line, j.result.Channel = j.line, ""
		if !gone {
			_ = enc.Encode(j.result) // flush tells
		}
	}
	flush()
}

// readLine reads one line without its end. One that is longer than most bytes is
// read to its end, and not kept.
func readLine(r *bufio.Reader, most int) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if !tooLong && len(line)+len(part) <= most {
			line = append(line, part...)
		} else {
			tooLong, line = true, append(line[:0], '!')
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
			if len(line) == 0 {
				line = []byte(" ") // an empty line is a line, and not a valid one
			}
		}
		return line, tooLong, err
	}
}
