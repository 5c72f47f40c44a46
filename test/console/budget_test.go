package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// mostScript is how many bytes of script all pages may take together, compressed.
	mostScript = 120 << 10
	// mostRows is how many rows an answer may have.
	mostRows = 200
	// fullVariable makes tests run at their full size.
	fullVariable = "EXTSYNC_TEST_FULL"
)

// noteShown has a page note when it has drawn a channel, in ms since it was asked for. To look from
// outside would take the page time.
const noteShown = `(() => {
	const seen = new MutationObserver(() => {
		if (!document.querySelector("main .tile")) return;
		seen.disconnect();
		requestAnimationFrame(() => setTimeout(() => { globalThis.shown = performance.now(); }));
	});
	seen.observe(document, { subtree: true, childList: true });
})()`

// all publishes many updates.
func (r *rig) all(updates iter.Seq[events.Update]) {
	r.t.Helper()
	for _, err := range r.pub.PublishAll(r.t.Context(), updates, 256) {
		r.must(err)
	}
}

// The console stays small and quick with 100 channels and 20,000 keys, and at full size with
// 1,000 and a million: all of its script has at most 120 KiB, and no answer more than 200 rows.
// How long a page takes is told only: this machine may have other things to do.
func TestBudgetsOfManyChannelsAndKeys(t *testing.T) {
	many, keys, room, patience := 100, 20_000, channels.Bytes(64<<20), testkit.Patience
	if os.Getenv(fullVariable) != "" {
		many, keys, room, patience = 1000, 1_000_000, 512<<20, time.Hour
	}
	t.Logf("%d channels and %d keys", many, keys)
	r := newRig(t)
	f := channels.File{Topics: []channels.Topic{{Name: "policies", MaxBytes: room}}}
	paused := true
	for i := range many {
		f.Channels = append(f.Channels, channelOf(fmt.Sprintf("channel-%03d", i), "sql", r.sqlite(fmt.Sprint("t", i)), func(c *channels.Config) {
			switch c.MaxBytes = 1 << 20; {
			case i < 2:
				c.From, c.Concurrency, c.MaxBytes = &channels.From{Topic: "policies"}, 64, room
				c.Filter = ".n % 100 == 99" // the target is not what is measured
			case i%2 == 0:
				c.Paused = &paused
			}
		}))
	}
	r.apply(f)
	r.all(func(yield func(events.Update) bool) {
		for i := range keys / 2 { // two channels have them
			if !yield(events.Update{Topic: "policies", Key: fmt.Sprintf("policy-%06d", i), Version: testkit.Number(1), Payload: fmt.Appendf(nil, `{"n":%d}`, i)}) {
				return
			}
		}
	})
	for i := range 2 {
		name := fmt.Sprintf("channel-%03d", i)
		testkit.EventuallyWithin(t, patience, name+" to be in sync", func() bool {
			c := r.row(name)
			return c.Keys == keys/2 && c.Undelivered == 0
		})
		r.state(name, fmt.Sprintf("policy-%06d", keys/2-1), "1", "delivered")
	}
	p := r.tab(wide(), nowhere)
	p.allow("/v1/entities/policy-0") // 404: no key is just that
	p.before(noteShown)
	for _, what := range []string{"nothing is kept of an earlier visit", "again", "again"} {
		p.do(chromedp.Navigate("about:blank"))
		p.do(chromedp.Navigate(p.url))
		t.Logf("the first page of %d channels shows them after %.0f ms (%s)", many, eval[float64](p, "new Promise((done) => { const look = () => (globalThis.shown ? done(shown) : setTimeout(look, 50)); look(); })"), what)
		p.loaded()
	}
	for _, hash := range []string{"keys", "keys?channel=channel-000", "keys?prefix=policy-0", "key/policy-000001", "channels", "channels/channel-000", "channels/channel-000/config", "dead", "workers", "activity", "access"} {
		began := time.Now()
		p.goTo(hash)
		t.Logf("%s: %d ms", hash, time.Since(began).Milliseconds())
	}
	p.goTo("keys?channel=channel-000&sync=in_sync,filtered")
	p.see("main table", "policy-")
	p.fill("#search", "policy-0")
	p.until("the search to be over", `rig.find("#found", "") && !rig.find("#found", "Looking…")`) // it takes a second at most, however many channels there are
	p.see("#found .mono", "policy-0")
	p.quiet()
	p.fewRows()
	var script, answers int64
	seen := map[string]bool{}
	for _, a := range p.got() {
		if strings.HasSuffix(a.url, ".js") && !seen[a.url] {
			seen[a.url] = true
			script += a.bytes
		}
		answers = max(answers, a.bytes)
	}
	t.Logf("all script: %d bytes in %d files, as sent; the largest answer: %d bytes", script, len(seen), answers)
	if script > mostScript || script == 0 {
		t.Errorf("all script has %d bytes; at most %d are allowed", script, mostScript)
	}
}

// got returns the answers so far.
func (p *tab) got() []answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]answer(nil), p.answers...)
}

// fewRows fails the test if an answer that the page has got has a list of more than mostRows.
func (p *tab) fewRows() {
	p.t.Helper()
	looked := 0
	for _, a := range p.got() {
		if !strings.Contains(a.url, "/v1/") || a.status != 200 || a.kind == "EventSource" || strings.HasSuffix(a.url, "/v1/connector-kinds") || strings.HasSuffix(a.url, "/v1/channel-schema") {
			continue
		}
		ctx, cancel := context.WithTimeout(p.ctx, testkit.Patience)
		body, err := chromedp.Run(ctx, func(ctx context.Context, tg *chromedp.Target) (network.GetResponseBodyResult, error) {
			return cdp.Call(ctx, tg, network.GetResponseBody, network.GetResponseBodyParams{RequestID: a.id})
		})
		cancel()
		if err != nil {
			continue // the browser keeps the newest only
		}
		var v any
		if json.Unmarshal([]byte(body.Body), &v) != nil {
			continue
		}
		looked++
		if n := longest(v); n > mostRows {
			p.t.Errorf("%s has a list of %d", a.url, n)
		}
	}
	if looked == 0 {
		p.t.Error("no answer could be looked at")
	}
}

// longest returns the length of the longest list in a document.
func longest(v any) (n int) {
	switch v := v.(type) {
	case []any:
		n = len(v)
		for _, e := range v {
			n = max(n, longest(e))
		}
	case map[string]any:
		for _, e := range v {
			n = max(n, longest(e))
		}
	}
	return n
}

// The page and the server keep nothing of what goes by: with 1,000 updates a second their
// memory is flat.
func TestMemoryIsFlatUnderLoad(t *testing.T) {
	span := time.Minute
	if os.Getenv(fullVariable) != "" {
		span = time.Hour
	}
	t.Logf("for %s", span)
	const perSecond = 1000
	r := newRig(t)
	r.channel("portal", "sql", r.sqlite("portal"), func(c *channels.Config) { c.Concurrency = 64 })
	ctx, cancel := context.WithCancel(t.Context())
	published, ended := 0, make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var failed error
		for _, err := range r.pub.PublishAll(context.WithoutCancel(ctx), func(yield func(events.Update) bool) {
			for n := 1; ctx.Err() == nil; n++ {
				if n%(perSecond/50) == 0 {
					<-tick.C
				}
				if !yield(events.Update{Channel: "portal", Key: fmt.Sprint("k", n%500), Version: testkit.Number(int64(n)), Payload: []byte(`{"n":1}`)}) {
					return
				}
			}
		}, 256) {
			failed = errors.Join(failed, err)
			published++
		}
		ended <- failed
	}()
	p := r.tab(wide(), "")
	p.until("updates to go by", `[...document.querySelectorAll(".figures dd")].some((e) => /^[1-9][0-9,.]*\/s/.test(rig.text(e)))`)
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	wait(span / 4) // until every list that is bounded is full
	before := p.memory()
	wait(span - span/4)
	after := p.memory()
	cancel()
	r.must(<-ended)
	t.Logf("%d updates published; before %+v, after %+v", published, before, after)
	if after.page > before.page+before.page/4+1<<20 {
		t.Errorf("the page has %d bytes, and had %d", after.page, before.page)
	}
	if after.nodes > before.nodes+before.nodes/4+500 {
		t.Errorf("the page has %d nodes, and had %d", after.nodes, before.nodes)
	}
	if after.server > before.server+before.server/2+32<<20 {
		t.Errorf("the server has %d bytes, and had %d", after.server, before.server)
	}
}

// memoryNow is what is in use after what nobody needs was thrown away.
type memoryNow struct{ page, nodes, server int64 }

func (p *tab) memory() (m memoryNow) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, testkit.Patience)
	defer cancel()
	p.do(command(heapprofiler.CollectGarbage, cdp.Empty{}), command(heapprofiler.CollectGarbage, cdp.Empty{}))
	_, err := chromedp.Run(ctx, func(ctx context.Context, tg *chromedp.Target) (chromedp.Void, error) {
		heap, err := cdp.Call(ctx, tg, cdpruntime.GetHeapUsage, cdp.Empty{})
		if err != nil {
			return chromedp.Void{}, err
		}
		counters, err := cdp.Call(ctx, tg, memory.GetDOMCounters, cdp.Empty{})
		m.page, m.nodes = int64(heap.UsedSize), int64(counters.Nodes)
		return chromedp.Void{}, err
	})
	testkit.Must(p.t, err)
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.server = int64(stats.HeapAlloc) //nolint:gosec // far below
	return m
}
