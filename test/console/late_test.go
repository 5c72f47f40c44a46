package console_test

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
)

// before runs a script in each document before those of the page.
func (p *tab) before(script string) {
	p.t.Helper()
	p.do(command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}))
}

// A console that could not start asks again by itself.
func TestStartsWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), nowhere)
	p.before(`globalThis.real ??= fetch; let first = true; globalThis.fetch = (...a) => { if (!first) return real(...a); first = false; return Promise.reject(new TypeError("away")); };`)
	p.do(chromedp.Navigate(p.url))
	p.see(".note", "The console could not start.")
	p.see("h1", "Overview")
	p.see("main", "portal")
}

// The stream begins where the snapshot ends, and an answer that was overtaken changes nothing.
func TestAnOlderAnswerIsDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), "")
	p.see("main", "portal")
	p.until("the stream to be there", `performance.getEntriesByType("resource").some((e) => e.name.includes("/v1/overview"))`)
	p.quiet()
	rows := eval[int](p, `(async () => {
		const state = await import(rig.module("state.js"));
		const real = fetch;
		let held, release, n = 0;
		const isHeld = new Promise((r) => { held = r; });
		globalThis.fetch = async (...a) => {
			const answer = await real(...a);
			if (!String(a[0]).includes("/overview?limit=200") || n++ > 0) return answer;
			held();
			await new Promise((r) => { release = r; });
			return new Response(JSON.stringify({ at: "2020-01-01T00:00:00Z", channels: [], totals: {}, next: "" }));
		};
		const older = state.reload();
		await isHeld;
		await state.reload();
		release();
		await older;
		globalThis.fetch = real;
		return state.rows.value.size;
	})()`)
	if rows != 1 {
		t.Errorf("there are %d channels after an older answer", rows)
	}
	since := false
	for _, a := range p.got() {
		since = since || strings.Contains(a.url, "/v1/events?since=20")
	}
	if !since {
		t.Error("the stream does not begin at the snapshot")
	}
}

// While all channels are asked for again, page by page, those that are known stay, with their
// sparklines.
func TestAReloadKeepsTheOthersMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"desk", "portal"} {
		r.channel(name, "http", r.shelf.connector(name))
	}
	p := r.tab(wide(), "")
	p.see("main", "portal")
	p.quiet()
	kept := eval[string](p, `(async () => {
		const state = await import(rig.module("state.js"));
		state.history.set("portal", [1, 2]);
		const real = fetch;
		let held, release, second;
		const isHeld = new Promise((r) => { held = r; });
		globalThis.fetch = async (...a) => {
			const asked = String(a[0]);
			if (!asked.includes("/overview?limit=200")) return real(...a);
			if (asked.includes("cursor=")) { held(); await new Promise((r) => { release = r; }); return new Response(JSON.stringify(second)); }
			const all = await (await real(...a)).json();
			second = { ...all, channels: all.channels.filter((c) => c.channel === "portal") };
			return new Response(JSON.stringify({ ...all, channels: all.channels.filter((c) => c.channel === "desk"), next: "c.desk" }));
		};
		const reloaded = state.reload();
		await isHeld;
		const meanwhile = [state.rows.value.size, state.history.get("portal")?.length >= 2];
		release();
		await reloaded;
		globalThis.fetch = real;
		return [...meanwhile, state.rows.value.size, state.history.get("portal")?.length >= 2].join();
	})()`)
	if kept != "2,true,2,true" {
		t.Errorf("channels, and whether there is a sparkline, meanwhile and after it: %s", kept)
	}
}

// Nobody waits for ever, and it says that what was asked for may have been done.
func TestAnAnswerThatDoesNotCome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), "")
	eval[bool](p, `(AbortSignal.timeout = () => AbortSignal.abort(new DOMException("", "TimeoutError")), true)`)
	eval[bool](p, `(location.hash = "#/workers", true)`)
	p.see(".note", "has not answered within 90 s")
	p.see(".note", "no_answer")
}

// Who logs out while the server is away sees that the login may be good still, and nothing of
// what was shown.
func TestLogOutThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTokens)
	r.channel("portal", "http", r.shelf.connector("portal"))
	_, text, err := r.issuer().Create(t.Context(), tokens.Token{Name: "desk", Scopes: []tokens.Scope{tokens.Read}})
	r.must(err)
	p := r.tab(wide(), nowhere)
	p.do(chromedp.Navigate(p.url + "#/channels"))
	p.fill("#token", text)
	p.click("button", "Log in")
	p.see("main", "portal")
	p.loaded()
	eval[bool](p, `(globalThis.real = fetch, globalThis.fetch = () => Promise.reject(new TypeError("away")), true)`)
	p.click("button", "Log out")
	p.see(".note", "You may still be logged in.")
	p.gone("main", "portal")
	eval[bool](p, `(globalThis.fetch = real, true)`)
	p.click("button", "Log out again")
	p.gone(".note", "You may still be logged in.")
	p.do(chromedp.Navigate(p.url + "#/channels"))
	p.see("#token", "")
}

// What is typed stays when something changes meanwhile.
func TestTypedTextStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) { c.Redact = []string{".ssn"} })
	p := r.tab(wide(), "dead")
	p.fill("#d-prefix", "case-")
	typed := eval[string](p, `(async () => {
		const { totals } = await import(rig.module("state.js"));
		totals.value = { ...totals.value, dead: 7 };
		for (let n = 0; n < 3; n++) await new Promise(requestAnimationFrame);
		return document.getElementById("d-prefix").value;
	})()`)
	if typed != "case-" {
		t.Errorf("the field has %q", typed)
	}

	// A list has one element a line.
	p.goTo("channels/portal/config")
	p.until("the field of redact", `[...document.querySelectorAll("label")].find((l) => rig.text(l).toLowerCase() === "redact")?.control`)
	eval[bool](p, `(() => { const e = [...document.querySelectorAll("label")].find((l) => rig.text(l).toLowerCase() === "redact").control; e.focus(); e.setSelectionRange(9, 9); return true; })()`)
	p.press("\r", ".", "d", "o", "b")
	p.until("the YAML to have both", `/- \.?"?\.ssn"?\s+- "?\.dob"?/.test(document.getElementById("yaml").value)`)
}

// A name that has dots is one name in the path of a field.
func TestNamesWithDotsAreQuoted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.tab(wide(), "")
	got := eval[string](p, `import(rig.module("config/paths.js")).then(({ changes, put, at }) => {
		const before = { headers: { "X.Y": "1", 'a"b': "2" } };
		const after = put(put(before, 'headers."X.Y"', "3"), 'headers."a\\"b"', "4");
		return JSON.stringify([after, changes(before, after).map((c) => c.path), at(after, 'headers."X.Y"')]);
	})`)
	const want = `[{"headers":{"X.Y":"3","a\"b":"4"}},["headers.\"X.Y\"","headers.\"a\\\"b\""],"3"]`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
