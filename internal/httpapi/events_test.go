package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
)

// An event is one of a stream.
type event struct {
	name, id string
	data     map[string]any
}

// events reads the events of a route until the test or the stream ends; then the channel is closed.
func (r *rig) events(path string, headers ...string) <-chan event {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(r.request(http.MethodGet, path, "", headers...)) //nolint:bodyclose // it is closed where it is read to its end
	r.must(err)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	out := make(chan event, 1000)
	go func() {
		defer close(out)
		defer func() { _ = resp.Body.Close() }()
		var e event
		s := bufio.NewScanner(resp.Body)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			name, value, _ := strings.Cut(s.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				if json.Unmarshal([]byte(value), &e.data) != nil {
					e.name = "broken"
				}
			case "":
				if e.name != "" {
					out <- e
				}
				e = event{}
			}
		}
	}()
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	return out
}

// await returns the first event that holds.
func await(t *testing.T, events <-chan event, what string, holds func(event) bool) event {
	t.Helper()
	over := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream has ended before %s", what)
			}
			if holds(e) {
				return e
			}
		case <-over:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// atWork waits until the worker is at work on all partitions of a channel, or on none.
func (r *rig) atWork(channel string, yes bool) {
	r.t.Helper()
	registry, err := r.client.Registry(r.t.Context())
	r.must(err)
	testkit.Eventually(r.t, fmt.Sprintf("the worker to be at work on %s: %t", channel, yes), func() bool {
		e, err := registry.Get(r.t.Context(), channel)
		r.must(err)
		b, err := registry.Backlog(r.t.Context(), e)
		r.must(err)
		return !slices.ContainsFunc(b.Partitions, func(p channels.PartitionBacklog) bool { return p.Progress.Clean == yes })
	})
}

// A reader hears of what changes from when it begins, and of nothing that it may not see.
func TestEvents(t *testing.T) {
	r := newRig(t).asking().serve().work()
	all := r.limited(nil, nil)
	events := r.events("/v1/events", all...)
	portal := r.events("/v1/events", r.limited([]string{"portal"}, nil)...)
	for _, stream := range []<-chan event{events, portal} {
		if hello := <-stream; hello.name != "hello" || hello.data["version"] != "test" || hello.data["at"] == nil {
			t.Fatalf("%v", hello)
		}
	}
	before := time.Now()
	r.atWork("erp", true)
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/erp/pause", "", all...)
	r.atWork("erp", false) // else it may deliver what comes now
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), all...)
	seen := await(t, events, "erp to be paused", func(e event) bool {
		erp := row(map[string]any{"channels": e.data["rows"]}, "erp")
		return e.name == "rows" && at(erp, "health") == "paused" && at(erp, "undelivered") == 1.0
	})
	if at(seen.data, "totals", "channels") != 2.0 || at(seen.data, "totals", "undelivered") != 1.0 || seen.id == "" {
		t.Errorf("%+v", seen)
	}
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/portal/pause", "", all...)
	var acts []string
	await(t, events, "both acts", func(e event) bool {
		if e.name == "activity" {
			acts = append(acts, names(e.data["records"], "target")+" "+names(e.data["records"], "result"))
		}
		return slices.ContainsFunc(acts, func(a string) bool { return strings.Contains(a, "portal") && strings.Contains(a, "done") })
	})
	// By now the limited one was told of all that it may see.
	heard := await(t, portal, "portal to be paused", func(e event) bool {
		if strings.Contains(names(e.data["rows"], "channel")+names(e.data["records"], "target"), "erp") {
			t.Errorf("it is not for erp: %+v", e)
		}
		return e.name == "rows" && at(row(map[string]any{"channels": e.data["rows"]}, "portal"), "health") == "paused"
	})
	if at(heard.data, "totals", "channels") != 1.0 {
		t.Errorf("%+v", heard)
	}
	// Who was away is told of what has changed since.
	again := r.events("/v1/events?since="+before.UTC().Format(time.RFC3339Nano), all...)
	await(t, again, "what has changed meanwhile", func(e event) bool {
		return e.name == "rows" && row(map[string]any{"channels": e.data["rows"]}, "erp") != nil
	})
	r.call(http.StatusOK, http.MethodDelete, "/v1/channels/portal?confirm=portal", "", all...)
	await(t, events, "portal to be gone", func(e event) bool {
		gone, _ := e.data["gone"].([]any)
		return e.name == "rows" && slices.Contains(gone, any("portal"))
	})
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/events?since=x", "", all...)
}

// A stream ends with its token, and when the process is asked to end.
func TestEventsEnd(t *testing.T) {
	r := newRig(t).asking().serve()
	issuer := r.issuer()
	tok, text, err := issuer.Create(t.Context(), tokens.Token{Name: "x", Scopes: []tokens.Scope{tokens.Read}})
	r.must(err)
	revoked := r.events("/v1/events", "Authorization", "Bearer "+text)
	lasting := r.events("/v1/events", r.limited(nil, nil)...)
	r.must(issuer.Revoke(t.Context(), tok.ID, false))
	ends := func(events <-chan event, what string) {
		t.Helper()
		over := time.After(30 * time.Second)
		for {
			select {
			case _, ok := <-events:
				if !ok {
					return
				}
			case <-over:
				t.Fatalf("the stream does not end: %s", what)
			}
		}
	}
	ends(revoked, "its token is revoked")
	select {
	case e, ok := <-lasting:
		if !ok || e.name != "hello" {
			t.Errorf("the other stream: %v %v", e, ok)
		}
	case <-time.After(10 * time.Second):
		t.Error("no hello")
	}
	r.stop()
	ends(lasting, "the process ends")
	r.must(<-r.ended)
}
