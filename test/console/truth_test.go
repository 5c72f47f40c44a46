package console_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// beats keeps what a page does again and again, by its gap in ms, so that a test need not wait
// for it.
const beats = `globalThis.beats = {}; globalThis.realInterval ??= setInterval;
globalThis.setInterval = (f, ms) => { beats[ms] = f; return realInterval(f, ms); };`

// refusing has the requests whose address has a part answered as by a server that has lost its
// broker; with "" as before.
func (p *tab) refusing(part string) {
	p.t.Helper()
	eval[bool](p, `(() => {
		globalThis.realFetch ??= fetch;
		globalThis.fetch = (...a) => `+js(part)+` && String(a[0]).includes(`+js(part)+`)
			? Promise.resolve(new Response(JSON.stringify({ detail: "the broker is away", reason: "unavailable" }), { status: 503 })) : realFetch(...a);
		return true;
	})()`)
}

// A server whose broker is away sends nothing: the console asks, says so, and says when all is
// well again. While all is quiet, too, what is shown is of now.
func TestSaysThatTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), nowhere)
	p.before(beats)
	p.do(chromedp.Navigate(p.url))
	p.see("main", "portal")
	p.loaded()
	was := eval[string](p, `document.querySelector("footer time").dateTime`)
	p.until("As of to go on", `(beats[15000](), document.querySelector("footer time").dateTime > `+js(was)+`)`)
	p.refusing("/v1/overview")
	p.until("it to be said", `(beats[15000](), rig.find(".note", "The channels could not be loaded."))`)
	p.see(".note", "the broker is away")
	p.see("main", "portal")
	p.refusing("")
	p.until("it to be over", `(beats[15000](), !rig.find(".note", "the broker is away"))`)

	for _, page := range []struct{ hash, asks, shows string }{{"workers", "/v1/workers", "alive"}, {"channels/portal", "/status", "Undelivered"}} {
		p.goTo(page.hash)
		p.see("main", page.shows)
		p.refusing(page.asks)
		eval[bool](p, "(beats[5000](), true)")
		p.see(".note", "the broker is away")
		p.see("main", page.shows)
		p.refusing("")
		eval[bool](p, "(beats[5000](), true)")
		p.gone(".note", "the broker is away")
	}
}

// A list that could not be loaded while the broker was away stood as that for ever where nothing else
// had it asked for again.
func TestWhatCouldNotBeLoadedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), nowhere)
	p.do(chromedp.Navigate(p.url + "#/channels"))
	p.see("main", "portal")
	p.refusing("/v1/jobs")
	p.goTo("activity")
	p.see("main .card .note", "the broker is away")
	p.refusing("")
	p.gone("main .card .note", "the broker is away")
	p.see("main", "none yet")
}

// A broker that came back older is said on every page.
func TestSaysThatTheBrokerWasRestored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), nowhere)
	p.before(`globalThis.realFetch ??= fetch;
globalThis.fetch = async (...a) => {
	const answer = await realFetch(...a);
	if (!String(a[0]).includes("/v1/overview")) return answer;
	return new Response(JSON.stringify({ ...(await answer.json()), restored: "2026-01-02T03:04:05Z" }));
};`)
	p.do(chromedp.Navigate(p.url + "#/workers"))
	p.see(".note.stop", "run extsync recover")
	p.goTo("channels/portal")
	p.see(".note.stop", "The broker holds older files than before.")
}

// A browser takes a key of dots for a step up, and the page said that nobody knows it.
func TestAKeyOfDots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), "channels")
	for _, key := range []string{".", ".."} {
		p.goTo("key/" + key)
		p.see("main .note", "A browser cannot ask for the key \""+key+"\"")
	}
}

// A job goes to the channel of the keys that are ticked, though another is chosen meanwhile whose
// keys have not come yet.
func TestTickedKeysKeepTheirChannel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"portal", "desk"} {
		r.channel(name, "http", r.shelf.connector(name))
		r.publish(name, "case-1", "1", `{}`)
		r.state(name, "case-1", "1", "delivered")
	}
	p := r.tab(wide(), nowhere)
	p.allow("/v1/entities/case") // 404: no key is just that
	p.do(chromedp.Navigate(p.url + "#/keys?channel=portal&prefix=case"))
	p.see("main table", "case-1")
	eval[bool](p, `(() => {
		const real = fetch;
		globalThis.fetch = (...a) => String(a[0]).includes("/channels/desk/") ? new Promise(() => {}) : real(...a);
		location.hash = "#/keys?channel=desk&prefix=case";
		return true;
	})()`)
	p.until("the other to be chosen", `document.getElementById("f-channel").value === "desk"`)
	p.click("tbody tr:nth-of-type(1) input[type=checkbox]", "")
	p.see(".bulk .command", "extsync resync portal --key case-1")
}

// What is said of a key is so: a system that filters its newest version out does not hold it,
// and where no channel takes it there is no system.
func TestWhoHoldsTheNewestVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply(channels.File{
		Topics:   []channels.Topic{{Name: "policies", MaxBytes: 16 << 20}},
		Channels: []channels.Config{channelOf("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) { c.Filter = ".open" })},
	})
	r.put(events.Update{Topic: "policies", Key: "policy-1", Version: testkit.Number(1), Payload: []byte(`{}`)})
	r.publish("portal", "case-1", "3", `{"open":false}`)
	r.state("portal", "case-1", "3", "filtered")
	p := r.tab(wide(), "key/case-1")
	p.see(".note", "portal filters out the newest version, 3.")
	p.goTo("key/policy-1")
	p.see(".note", "No channel takes this key.")
}

// Numbers in contents are as they were written: JavaScript would round these.
func TestNumbersInContentsAreExact(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	r.publish("portal", "case-1", "1", `{"id":9007199254740993,"premium":1.50}`)
	r.state("portal", "case-1", "1", "delivered")
	r.shelf.change("portal", "case-1", `{"id":9007199254740995,"premium":1.50}`)
	p := r.tab(wide(), "key/case-1")
	p.click("button", "Show the payload")
	p.see("pre.payload", "9007199254740993")
	p.click("button", "Read back")
	p.see("tr.diff.changed .ours", "9007199254740993")
	p.see("tr.diff.changed .theirs", "9007199254740995")
}

// Each act says what came of it, as far as that is known.
func TestActsSayWhatCameOfThem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	refusing := newShelf(t)
	refusing.Answers(func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnprocessableEntity) })
	r.channel("crm", "http", refusing.connector("crm"), func(c *channels.Config) { c.Retry.MaxAttempts = 1 })
	r.publish("crm", "case-1", "1", `{}`)
	r.state("crm", "case-1", "1", "dead_lettered")
	refusing.Heal()
	p := r.tab(wide(), "dead?channel=crm")
	p.see("details.group[open] table", "case-1")
	p.click("details.group tr button", "Replay")
	p.see(".said", "Delivered.")

	p.goTo("channels/crm")
	p.click(".act button", "Try now")
	p.see(".act .said", "Calls flow.")
	p.click(".act button", "Pause")
	p.see(".act button", "Resume")
	p.quiet()
	p.gone(".act .said", "Done.") // that was the pause
	// Only the act's answer is lost: a note that the page is out of date would move the button.
	eval[bool](p, `(() => { const real = fetch; globalThis.fetch = (...a) => String(a[0]).endsWith("/resume") ? Promise.reject(new TypeError("lost")) : real(...a); return true; })()`)
	p.click(".act button", "Resume")
	p.see(".act .note", "It may have been done.")
}

// The list of channels of the dead letters has the one that the address names.
func TestTheChosenChannelIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.tab(wide(), nowhere)
	p.allow("status of 4") // there is no such channel
	p.do(chromedp.Navigate(p.url + "#/dead?channel=elsewhere"))
	p.until("it to be chosen", `document.getElementById("d-channel")?.value === "elsewhere"`)
}
