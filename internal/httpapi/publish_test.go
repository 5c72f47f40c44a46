package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

const updates = "/v1/channels/erp/updates"

func update(key, version, content string) string {
	return fmt.Sprintf(`{"key":%q,"version":%q,"payload":{"content":%q}}`, key, version, content)
}

func TestPublish(t *testing.T) {
	r := newRig(t).serve().work()
	out := r.call(http.StatusOK, http.MethodPost, updates+"?wait=20s", update("a/b ü", "7", "x"))
	if at(out, "ack", "outcome") != "delivered" || at(out, "receipt", "version") != "7" {
		t.Errorf("answer %v", out)
	}
	see, _ := out["see"].(string)
	r.eventually("the ledger to show it", func() bool {
		found := r.call(http.StatusOK, http.MethodGet, see, "")
		return found["state"] == "delivered" && at(found, "target", "version") == "7" && found["key"] == "a/b ü"
	})
	if out := r.call(http.StatusAccepted, http.MethodPost, updates, update("a/b ü", "7", "x")); at(out, "receipt", "duplicate") != true {
		t.Errorf("repetition: %v", out)
	}
	stale := r.call(http.StatusConflict, http.MethodPost, updates, update("a/b ü", "6", "x"))
	if stale["reason"] != "stale" || at(stale, "head", "version") != "7" {
		t.Errorf("stale: %v", stale)
	}
	if c := r.call(http.StatusConflict, http.MethodPost, updates, update("a/b ü", "7", "y")); c["reason"] != "conflict" {
		t.Errorf("conflict: %v", c)
	}
	r.call(http.StatusNotFound, http.MethodPost, "/v1/channels/nowhere/updates", update("k", "1", "x"))
	r.call(http.StatusUnsupportedMediaType, http.MethodPost, updates, "x", "Content-Type", "text/plain")
	r.call(http.StatusRequestEntityTooLarge, http.MethodPost, updates, update("k", "1", strings.Repeat("x", 1<<20)))
	r.call(http.StatusRequestEntityTooLarge, http.MethodPost, updates, update("k", "1", strings.Repeat("x", 3<<20)))
	bad := r.call(http.StatusUnprocessableEntity, http.MethodPost, updates, `{"version":"07","op":"x","payload":1,"colour":1,"time":"noon"}`)
	fields, _ := bad["errors"].([]any)
	if len(fields) < 4 {
		t.Errorf("bad fields: %v", bad)
	}
	r.call(http.StatusUnprocessableEntity, http.MethodPost, updates+"?wait=1h", update("k", "1", "x"))
	r.call(http.StatusNotFound, http.MethodGet, "/v1/channels/erp/entities/nobody", "")
	r.call(http.StatusNotFound, http.MethodGet, "/v1/elsewhere", "")
	r.call(http.StatusMethodNotAllowed, http.MethodDelete, updates, "")
}

func TestPublishCloudEvents(t *testing.T) {
	r := newRig(t).serve()
	binary := []string{"Content-Type", "application/xml", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-subject", "a%20b", "ce-entityversion", "3"}
	if out := r.call(http.StatusAccepted, http.MethodPost, updates, "<x/>", binary...); at(out, "receipt", "key") != "a b" {
		t.Errorf("binary: %v", out)
	}
	structured := `{"specversion":"1.0","id":"2","source":"/s","type":"t","subject":"a b","entityversion":4,"datacontenttype":"text/plain","data":"hello","other":"ignored"}`
	if out := r.call(http.StatusAccepted, http.MethodPost, updates, structured, "Content-Type", "application/cloudevents+json"); at(out, "receipt", "version") != "4" {
		t.Errorf("structured: %v", out)
	}
	r.call(http.StatusUnprocessableEntity, http.MethodPost, updates, `{"subject":"k","entityversion":1,"data":1}`, "Content-Type", "application/cloudevents+json")
}

func TestPublishToSeveralChannels(t *testing.T) {
	r := newRig(t).serve()
	out := r.call(http.StatusMultiStatus, http.MethodPost, "/v1/updates", `{"channels":["erp","nowhere","portal"],"key":"k","version":1,"payload":1}`)
	results, _ := out["results"].([]any)
	for i, want := range []float64{202, 404, 202} {
		if m, _ := results[i].(map[string]any); m["status"] != want {
			t.Errorf("result %d: %v", i, m)
		}
	}
	everywhere := r.call(http.StatusOK, http.MethodGet, "/v1/entities/k", "")
	if list, _ := everywhere["channels"].([]any); len(list) != 2 {
		t.Errorf("everywhere: %v", everywhere)
	}
}

func TestIdempotencyKey(t *testing.T) {
	r := newRig(t).serve()
	key := []string{"Idempotency-Key", "one"}
	first := r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), key...)
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "2", "x"))
	again := r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), key...)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Errorf("the repetition has another receipt: %v, then %v", first, again)
	}
	if p := r.call(http.StatusUnprocessableEntity, http.MethodPost, updates, update("k", "3", "x"), key...); p["reason"] != "idempotency_key" {
		t.Errorf("another request: %v", p)
	}
}

func TestFullChannelAndQuotas(t *testing.T) {
	r := newRig(t)
	limited := r.channel("small")
	limited.MaxBytes, limited.Quota = 1<<20, channels.Quota{MaxPayload: 400 << 10}
	slow := r.channel("slow")
	slow.Quota.Rate = 0.01
	_, err := r.client.Apply(t.Context(), channels.File{Channels: []channels.Config{limited, slow}}, false)
	r.must(err)
	r.serve()
	r.call(http.StatusRequestEntityTooLarge, http.MethodPost, "/v1/channels/small/updates", update("k", "1", strings.Repeat("x", 500<<10)))
	full := false
	for i := range 8 {
		resp, data := r.do(r.request(http.MethodPost, "/v1/channels/small/updates", update(fmt.Sprint(i), "1", strings.Repeat("x", 300<<10))))
		if resp.StatusCode == http.StatusTooManyRequests {
			full = resp.Header.Get("Retry-After") != "" && strings.Contains(data, "channel_full")
		}
	}
	if !full {
		t.Error("a full channel takes everything")
	}
	r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/slow/updates", update("k", "1", "x"))
	if p := r.call(http.StatusTooManyRequests, http.MethodPost, "/v1/channels/slow/updates", update("k", "2", "x")); p["reason"] != "quota_rate" {
		t.Errorf("over the rate: %v", p)
	}
}

func TestBrokerAway(t *testing.T) {
	r := newRig(t).serve()
	r.broker.Stop(t)
	p := r.call(http.StatusServiceUnavailable, http.MethodPost, updates, update("k", "1", "x"))
	if p["reason"] != "broker_unavailable" {
		t.Errorf("answer %v", p)
	}
	r.eventually("readyz to say no", func() bool {
		resp, _ := r.do(r.request(http.MethodGet, "/readyz", ""))
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	r.call(http.StatusOK, http.MethodGet, "/healthz", "")
	r.broker.Start(t)
	r.eventually("readyz to say yes", func() bool {
		resp, _ := r.do(r.request(http.MethodGet, "/readyz", ""))
		return resp.StatusCode == http.StatusOK
	})
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"))
}

// Who waits is answered when the process is asked to end, and it ends cleanly.
func TestStopAnswersWhoWaits(t *testing.T) {
	r := newRig(t).serve().work()
	release := r.target.hold()
	defer release()
	answered := make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r.request(http.MethodPost, updates+"?wait=50s", update("k", "1", "x")))
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	r.eventually("a call to the target", func() bool { return r.target.calls.Load() > 0 })
	r.stop()
	if status := <-answered; status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

func TestManyWaiters(t *testing.T) {
	const waiters = 1000
	r := newRig(t).serve().work()
	release := r.target.hold()
	defer release()
	var idle runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&idle)
	goroutines := runtime.NumGoroutine()
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: waiters}}
	defer client.CloseIdleConnections()
	statuses := make([]int, waiters)
	for i := range waiters {
		req := r.request(http.MethodPost, updates+"?wait=50s", update(fmt.Sprint("k", i), "1", "x"))
		wg.Go(func() {
			resp, err := client.Do(req)
			if err == nil {
				statuses[i] = resp.StatusCode
				_ = resp.Body.Close()
			}
		})
	}
	r.eventually("all updates to be stored", func() bool {
		stream, err := r.client.JS.Stream(t.Context(), wire.UpdateStream(r.client.Names, events.ToChannel("erp")))
		r.must(err)
		return stream.CachedInfo().State.Msgs == waiters
	})
	// Client, broker and worker are in this process, too.
	var held runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&held)
	grown, started := (held.HeapAlloc-min(held.HeapAlloc, idle.HeapAlloc))>>10, runtime.NumGoroutine()-goroutines
	t.Logf("%d waiters: %d goroutines and %d KiB", waiters, started, grown)
	if started > 10*waiters || grown > 100*waiters {
		t.Errorf("%d waiters hold %d goroutines and %d KiB", waiters, started, grown)
	}
	release()
	wg.Wait()
	for i, s := range statuses {
		if s != http.StatusOK {
			t.Fatalf("waiter %d: status %d", i, s)
		}
	}
}

// Every key can be asked for, and nothing in a path makes the API fail.
func FuzzPath(f *testing.F) {
	for _, key := range []string{"k", "a/b", "..", ".", "%2F", "a?b#c", "\x00", "\xff", "ü", "//", "updates:batch"} {
		f.Add("erp", key)
	}
	f.Add("../erp", "k")
	f.Add("ERP", "k")
	r := newRig(f).serve()
	f.Fuzz(func(t *testing.T, channel, key string) {
		path := "/v1/channels/" + url.PathEscape(channel) + "/entities/" + url.PathEscape(key)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		switch resp.StatusCode {
		case http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusOK:
		default:
			t.Errorf("%q: %s", path, resp.Status)
		}
	})
}
