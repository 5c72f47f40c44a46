package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// batch sends lines in one request.
func (r *rig) batch(lines string, headers ...string) (answer, string) {
	r.t.Helper()
	return r.batchTo(updates, lines, headers...)
}

// batchTo is batch for the updates of another route.
func (r *rig) batchTo(updates, lines string, headers ...string) (answer, string) {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(r.request(http.MethodPost, updates+":batch", lines, append(headers, "Content-Type", "application/x-ndjson")...))
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	r.must(err)
	return answer{resp.StatusCode, resp.Status, resp.Header}, string(data)
}

// Any number of lines go through one request, with a result for each, in order:
// 100,000 at full size.
func TestBatch(t *testing.T) {
	lines := 10_000
	if os.Getenv("EXTSYNC_TEST_FULL") != "" {
		lines = 100_000
	}
	r := newRig(t).serve()
	cfg := r.channel("big")
	cfg.MaxBytes = 256 << 20
	data, err := json.Marshal(cfg)
	r.must(err)
	r.call(http.StatusCreated, http.MethodPut, "/v1/channels/big", string(data), "If-None-Match", "*")
	in, out := io.Pipe()
	go func() {
		w := bufio.NewWriter(out)
		for i := 1; i <= lines; i++ {
			switch i {
			case 10:
				_, _ = w.WriteString("\n") // an empty line is an error of its own
			case 11:
				_, _ = w.WriteString(strings.Repeat("x", 3<<20) + "\n")
			default: // two versions of each key, the older first
				_, _ = fmt.Fprintf(w, `{"key":"k%d","version":%d,"payload":{"n":%d}}`+"\n", i/2, i, i)
			}
		}
		_ = out.CloseWithError(w.Flush())
	}()
	req := r.request(http.MethodPost, "/v1/channels/big/updates:batch", "")
	req.Body, req.ContentLength = in, -1
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	n := 0
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		n++
		var result struct{ Line, Status int }
		r.must(json.Unmarshal(s.Bytes(), &result))
		want := http.StatusAccepted
		switch n {
		case 10:
			want = http.StatusUnprocessableEntity
		case 11:
			want = http.StatusRequestEntityTooLarge
		}
		if result.Line != n || result.Status != want {
			t.Fatalf("line %d: %s", n, s.Bytes())
		}
	}
	if n != lines {
		t.Errorf("%d results", n)
	}
}

func TestListOfWhatIsBehind(t *testing.T) {
	r := newRig(t).serve()
	const keys = 25
	for i := range keys {
		r.call(http.StatusAccepted, http.MethodPost, updates, update(fmt.Sprint("k", i), "1", "x"))
	}
	seen := map[string]bool{}
	cursor, pages := "", 0
	for {
		page := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/entities?sync=behind,waiting&limit=10&cursor="+cursor, "")
		entities, _ := page["entities"].([]any)
		for _, e := range entities {
			m, _ := e.(map[string]any)
			seen[fmt.Sprint(m["key"], m["state"])] = true
		}
		pages++
		if cursor, _ = page["next"].(string); cursor == "" {
			break
		}
	}
	if len(seen) != keys || !seen["k3pending"] || pages < 3 {
		t.Errorf("%d pages: %v", pages, seen)
	}
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/channels/erp/entities?sync=behind&cursor=x", "")
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/channels/erp/entities?state=odd", "")
}

// follow reads events of a service's acks.
func (r *rig) follow(count int, headers ...string) (ids, keys []string) {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(r.request(http.MethodGet, "/v1/acks/portal", "", headers...))
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	for s := bufio.NewScanner(resp.Body); len(keys) < count && s.Scan(); {
		if id, ok := strings.CutPrefix(s.Text(), "id: "); ok {
			ids = append(ids, id)
		}
		if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			var ack struct{ Key string }
			r.must(json.Unmarshal([]byte(data), &ack))
			keys = append(keys, ack.Key)
		}
	}
	return ids, keys
}

func TestAcksResume(t *testing.T) {
	r := newRig(t).serve().work()
	for _, key := range []string{"a", "b", "c"} {
		body := strings.Replace(update(key, "1", "x"), "{", `{"ack_service":"portal",`, 1)
		r.call(http.StatusOK, http.MethodPost, updates+"?wait=20s", body)
	}
	ids, keys := r.follow(3)
	if strings.Join(keys, "") != "abc" {
		t.Fatalf("acks of %v", keys)
	}
	if _, keys = r.follow(1, "Last-Event-ID", ids[1]); strings.Join(keys, "") != "c" {
		t.Errorf("resumed with %v", keys)
	}
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/acks/a.b", "")
	// Of an event that the broker does not have nobody knows what comes behind it.
	seq, at, _ := strings.Cut(ids[1], "-")
	for _, id := range []string{"18446744073709551615", "18446744073709551615-" + at, "99-" + at, seq, seq + "-1", "-1", "0-0", "x"} {
		if _, keys = r.follow(3, "Last-Event-ID", id); strings.Join(keys, "") != "abc" {
			t.Errorf("behind %s: %v", id, keys)
		}
	}
}

// publishAcks stores the acks of keys for the service portal, one message for each.
func (r *rig) publishAcks(keys ...string) {
	r.t.Helper()
	for _, key := range keys {
		data, err := wire.AppendAck(nil, wire.NewAck("erp", key, events.Settlement{Version: versioning.Must(versioning.Number(1)), Outcome: events.Delivered}))
		r.must(err)
		_, err = r.client.JS.Publish(r.t.Context(), "sync.acks.portal.all", data)
		r.must(err)
	}
}

// makeAcksAnew deletes the stream of acks and makes it again.
func (r *rig) makeAcksAnew() {
	r.t.Helper()
	name := wire.AckStream(r.client.Names)
	stream, err := r.client.JS.Stream(r.t.Context(), name)
	r.must(err)
	r.must(r.client.JS.DeleteStream(r.t.Context(), name))
	_, err = r.client.JS.CreateStream(r.t.Context(), stream.CachedInfo().Config)
	r.must(err)
}

// A reader that came back after the stream of acks was made anew waited behind a
// sequence that the new stream had not reached, or had given to another ack.
func TestAcksOfAStreamMadeAnewAreNotLost(t *testing.T) {
	r := newRig(t).serve()
	r.publishAcks("a", "b", "c")
	ids, _ := r.follow(3)
	r.makeAcksAnew()
	r.publishAcks("d")
	if _, keys := r.follow(1, "Last-Event-ID", ids[2]); strings.Join(keys, "") != "d" {
		t.Errorf("behind the end: %v", keys)
	}
	r.publishAcks("e", "f", "g")
	if _, keys := r.follow(4, "Last-Event-ID", ids[2]); strings.Join(keys, "") != "defg" {
		t.Errorf("in the middle: %v", keys)
	}
}

// A reader that was connected all the time is told by the end of its connection, and
// gets all when it comes back as every reader does.
func TestReadersOfAcksOutliveTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t).serve()
	r.publishAcks("a", "b")
	following := make(chan struct{})
	all := make(chan string, 1)
	go func() {
		seen, last := "", ""
		for len(seen) < len("abcd") {
			req := r.request(http.MethodGet, "/v1/acks/portal", "")
			if last != "" {
				req.Header.Set("Last-Event-ID", last)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				break // the test has ended
			}
			for s := bufio.NewScanner(resp.Body); s.Scan() && len(seen) < len("abcd"); {
				if id, ok := strings.CutPrefix(s.Text(), "id: "); ok {
					last = id
				}
				var ack struct{ Key string }
				if data, ok := strings.CutPrefix(s.Text(), "data: "); ok && json.Unmarshal([]byte(data), &ack) == nil && !strings.Contains(seen, ack.Key) {
					if seen += ack.Key; seen == "ab" {
						close(following)
					}
				}
			}
			_ = resp.Body.Close() // only read from
		}
		all <- seen
	}()
	<-following
	r.makeAcksAnew()
	r.publishAcks("c", "d")
	select {
	case seen := <-all:
		if seen != "abcd" {
			t.Errorf("a reader saw %s", seen)
		}
	case <-time.After(2 * testkit.Patience):
		t.Error("a reader does not get what came after the stream was lost")
	}
}

// Of acks that came in one message only the last has an id: a client that is cut off
// before it gets all of them again.
func TestAcksInLinesResume(t *testing.T) {
	r := newRig(t)
	publish := func(keys ...string) {
		var lines []string
		for _, key := range keys {
			data, err := wire.AppendAck(nil, wire.NewAck("erp", key, events.Settlement{Version: versioning.Must(versioning.Number(1)), Outcome: events.Delivered}))
			r.must(err)
			lines = append(lines, string(data))
		}
		_, err := r.client.JS.Publish(t.Context(), "sync.acks.portal.all", []byte(strings.Join(lines, "\n")))
		r.must(err)
	}
	publish("a", "b", "c")
	publish("d")
	r.serve()
	ids, keys := r.follow(4)
	if strings.Join(keys, "") != "abcd" || len(ids) != 2 {
		t.Fatalf("acks of %v with ids %v", keys, ids)
	}
	if _, keys = r.follow(1, "Last-Event-ID", ids[0]); strings.Join(keys, "") != "d" {
		t.Errorf("resumed with %v", keys)
	}
}
