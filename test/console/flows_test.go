package console_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A key is found by its name, and its page says why it is behind: in words, by code, with
// what to do. When the target is well again, the page says so by itself.
func TestFindAKeyAndSeeWhyItIsBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	r.publish("portal", "policy-4711", "7", `{"status":"open"}`)
	r.state("portal", "policy-4711", "7", "delivered")
	r.shelf.Answers(func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("the portal is closed for maintenance"))
	})
	r.publish("portal", "policy-4711", "8", `{"status":"closed"}`)
	r.eventually("portal", "not ok", func(c row) bool { return c.Health == "down" || c.Health == "retrying" })

	p := r.tab(wide(), "")
	p.fill("#search", "policy-47")
	p.see("#found [role=option]", "policy-4711")
	p.click("#found [role=option]", "policy-4711")
	p.see("h1", "policy-4711")
	p.loaded()
	p.see("main", "0 of 1 system")
	p.until("the reason's code", `["circuit_open", "target_error"].includes(rig.find("main table .why code", "")?.textContent)`)
	p.see("main table", "503")
	p.see("main table", "behind")
	p.see("main", "goes on by itself")
	p.see("details summary", "Answer of the target")
	p.click("details summary", "Answer of the target")
	p.see("pre.payload", "the portal is closed for maintenance")

	// The list of keys has it by each filter.
	p.allow("/v1/entities/policy-4") // 404: no key is just that
	for _, query := range []string{"prefix=policy-4", "sync=behind,waiting", "channel=portal&health=down,retrying", "why=circuit_open,target_error"} {
		p.goTo("keys?" + query)
		p.see("main table", "policy-4711")
	}
	p.goTo("keys?sync=in_sync")
	p.gone("main table", "policy-4711")

	p.goTo("key/policy-4711")
	p.see("main table", "behind")
	r.shelf.Heal()
	p.see("main", "portal holds the newest version, 8.")
	p.see("main table", "in sync")
	if got := r.shelf.holds("portal", "policy-4711"); got != "8" {
		t.Errorf("the target holds version %s", got)
	}
}

// A diff by field shows what the channel would send now, after its mapping, beside what the
// target holds, which somebody has changed there.
func TestDiffOfWhatWouldBeSentAgainstWhatTheTargetHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) {
		c.Mapping, c.Redact = "{state: .status, agent, ssn}", []string{".ssn"}
	})
	r.publish("portal", "k", "9007199254740993", `{"status":"closed","agent":"Smith","ssn":"123-45-6789"}`)
	r.state("portal", "k", "9007199254740993", "delivered")
	p := r.tab(wide(), "key/k")
	p.see("main table", "9007199254740993") // exact: JavaScript's numbers would round it
	p.click("button", "Read back")
	p.see("tr.diff.hidden", "hidden, same on both sides")
	r.shelf.change("portal", "k", `{"state":"clothed","agent":"Smith","ssn":"987-65-4321","note":"by hand"}`)
	p.click("button", "Read back")
	p.see("tr.diff.changed", ".state")
	p.see("tr.diff.changed .ours ins", "s")
	p.see("tr.diff.changed .theirs del", "th")
	p.see("tr.diff.only_there", ".note")
	p.see("tr.diff.hidden", ".ssn")
	p.click("label", "equal field")
	p.see("tr.diff.equal", ".agent")
	if text := eval[string](p, "document.body.innerText"); containsAny(text, "123-45-6789", "987-65-4321") {
		t.Error("a field that redact names is shown")
	}
	p.click("button", "Show the payload")
	p.see("pre.payload", "Smith")
	if text := eval[string](p, "document.body.innerText"); containsAny(text, "123-45-6789") {
		t.Error("a field that redact names is shown in the payload")
	}
}

// A channel is paused while updates come: the page says so by itself, what comes meanwhile is
// kept, and goes out when somebody resumes the channel.
func TestPauseUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	load := startLoad(r, 50)
	p := r.tab(wide(), "channels/portal")
	p.until("updates to be settled", `[...document.querySelectorAll(".figures dd")].some((e) => /^[1-9][0-9,.]*\/s/.test(rig.text(e)))`)
	p.click("button", "Pause…")
	p.click("dialog[open] button", "Pause the channel")
	p.see("main .chip", "paused")
	p.until("more to wait, and nothing to go out", `/[1-9]/.test(rig.text(rig.find(".figures div", "Undelivered").querySelector("dd")))`)
	last := load.stop()
	p.click("button", "Resume…")
	p.click("dialog[open] button", "Resume the channel")
	p.see("main .chip", "ok")
	testkit.Eventually(t, "the last version to be there", func() bool {
		return r.shelf.holds("portal", fmt.Sprint("k", last%50)) == fmt.Sprint(last)
	})
	p.see("main .chip", "in sync")
}

// A load publishes versions of some keys, one after the other.
type load struct {
	r     *rig
	end   context.CancelFunc
	ended chan error
	last  int
}

func startLoad(r *rig, keys int) *load {
	ctx, end := context.WithCancel(r.t.Context())
	l := &load{r: r, end: end, ended: make(chan error, 1)}
	go func() {
		for ctx.Err() == nil {
			n := l.last + 1
			_, err := r.pub.Publish(context.WithoutCancel(ctx), events.Update{Channel: "portal", Key: fmt.Sprint("k", n%keys), Version: testkit.Number(int64(n)), Payload: []byte(`{"n":1}`)})
			if err != nil {
				l.ended <- err
				return
			}
			l.last = n
		}
		l.ended <- nil
	}()
	return l
}

// stop ends it, and returns the last version.
func (l *load) stop() int {
	l.r.t.Helper()
	l.end()
	l.r.must(<-l.ended)
	return l.last
}

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
