package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/hms-utl/extsync/internal/testkit"
)

// A tab is a page of the browser with cookies and storage of its own. A test fails if
// the page logs an error, throws one, or does what its policy forbids.
type tab struct {
	t   testing.TB
	ctx context.Context
	url string // of the console

	mu      sync.Mutex
	faults  []string
	allowed []string                     // parts of what may be logged
	asked   map[network.RequestID]string // requests without an answer yet
	answers []answer
	idle    chan struct{} // closed when the last request was answered
}

// An answer is one that the page has got.
type answer struct {
	id     network.RequestID
	url    string
	status int64
	bytes  int64 // as sent: with headers, compressed
	kind   network.ResourceType
}

// A view is how a tab looks.
type view struct {
	width, height int64
	dark          bool
}

// wide is a usual screen.
func wide() view { return view{width: 1280, height: 900} }

// newTab opens an empty tab. It is closed with the test, which fails then if the page
// had faults.
func newTab(t testing.TB, v view) *tab {
	t.Helper()
	p := &tab{t: t, asked: map[network.RequestID]string{}}
	ctx, closeTab := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.listen))
	p.ctx = ctx
	t.Cleanup(func() {
		closeTab()
		for _, f := range p.Faults() {
			t.Errorf("the page: %s", f)
		}
	})
	p.do(
		command(audits.Enable, cdp.Empty{}),
		command(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"}),
		command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: helpers}),
	)
	p.look(v)
	return p
}

// command makes a step of a command whose answer does not matter.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tg *chromedp.Target) error {
		_, err := cdp.Call(ctx, tg, c, params)
		return err
	})
}

// listen runs in the loop that reads the browser's messages: it only notes.
func (p *tab) listen(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		for _, a := range p.allowed {
			if strings.Contains(text, a) {
				return
			}
		}
		p.faults = append(p.faults, text)
	}
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if ev.ExceptionDetails.Exception != nil {
			text += ": " + ev.ExceptionDetails.Exception.Description
		}
		fault("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == "error" || ev.Type == "warning" || ev.Type == "assert" {
			var said []string
			for _, a := range ev.Args {
				said = append(said, strings.TrimSpace(string(a.Value)+" "+a.Description))
			}
			fault("console.%s: %s", ev.Type, strings.Join(said, " "))
		}
	case *log.EventEntryAdded:
		if ev.Entry.Level == "error" || ev.Entry.Level == "warning" || ev.Entry.Source == "security" {
			fault("%s %s: %s %s", ev.Entry.Source, ev.Entry.Level, ev.Entry.Text, ev.Entry.URL)
		}
	case *audits.EventIssueAdded:
		if ev.Issue.Code == "ContentSecurityPolicyIssue" {
			detail, _ := json.Marshal(ev.Issue.Details) // what cannot be written is told without
			fault("policy violated: %s", detail)
		}
	case *network.EventRequestWillBeSent:
		if ev.Type != "EventSource" { // it never ends
			p.asked[ev.RequestID] = ev.Request.URL
		}
	case *network.EventResponseReceived:
		p.answers = append(p.answers, answer{id: ev.RequestID, url: ev.Response.URL, status: int64(ev.Response.Status), kind: ev.Type})
	case *network.EventLoadingFinished:
		for i := range p.answers {
			if p.answers[i].id == ev.RequestID {
				p.answers[i].bytes = int64(ev.EncodedDataLength)
			}
		}
		p.answered(ev.RequestID)
	case *network.EventLoadingFailed:
		p.answered(ev.RequestID)
	}
}

func (p *tab) answered(id network.RequestID) {
	delete(p.asked, id)
	if len(p.asked) == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

// Faults returns what went wrong in the page so far.
func (p *tab) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// allow says that what contains a text is no fault, such as an answer that is refused on
// purpose.
func (p *tab) allow(texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = append(p.allowed, texts...)
}

// do runs steps. A test that passes never reaches Patience.
func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	testkit.Must(p.t, chromedp.Do(p.ctx)) // opens the tab, which lives as long as its first context
	ctx, cancel := context.WithTimeout(p.ctx, testkit.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.fatal("%v", err)
	}
}

// fatal ends the test, and tells what the page shows.
func (p *tab) fatal(format string, args ...any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + (document.querySelector("dialog[open]") ?? document.querySelector("main") ?? document.body).innerText.slice(0, 4000)`))
	if err != nil {
		shown = err.Error()
	}
	p.t.Fatalf("%s\nThe page shows: %s\nFaults: %q", fmt.Sprintf(format, args...), shown, p.Faults())
}

// eval returns what an expression of JavaScript gives in the page; a promise is waited for.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, testkit.Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.fatal("%s: %v", expression, err)
	}
	return v
}

// js writes a value as JavaScript does.
func js(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // tests pass strings
	}
	return string(data)
}

// until waits until an expression is true in the page. It is looked at again with each
// change of the document, and in the next document if the page goes there.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, testkit.Patience)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("rig.until(() => "+expression+")", chromedp.EvalAwaitPromise))
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			p.fatal("not in %s: %s", testkit.Patience, what)
		case !strings.Contains(err.Error(), "context was destroyed") && !strings.Contains(err.Error(), "navigated or closed") && !strings.Contains(err.Error(), "rig is not defined"):
			p.fatal("%s: %v", what, err)
		}
	}
}

// quiet waits until every request of the page has its answer.
func (p *tab) quiet() {
	p.t.Helper()
	p.mu.Lock()
	var idle chan struct{}
	if len(p.asked) > 0 {
		if p.idle == nil {
			p.idle = make(chan struct{})
		}
		idle = p.idle
	}
	p.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(testkit.Patience):
		p.fatal("requests are not answered: %v", p.asked)
	}
}

// goTo goes to a page of the console, and waits until it is loaded.
func (p *tab) goTo(hash string) {
	p.t.Helper()
	if eval[bool](p, `location.href.startsWith(`+js(p.url)+`)`) {
		eval[bool](p, `(location.hash = `+js("#/"+hash)+`, true)`)
	} else {
		p.do(chromedp.Navigate(p.url + "#/" + hash))
	}
	p.loaded()
}

// loaded waits until nothing of the page is still being loaded.
func (p *tab) loaded() {
	p.t.Helper()
	for range 3 { // what has come may ask for more
		p.until("the page to be loaded", `document.querySelector("main h1") && !document.querySelector(".loading")`)
		p.quiet()
	}
}

// see waits until something that matches a selector shows a text.
func (p *tab) see(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q in %s", text, selector), fmt.Sprintf("rig.find(%s, %s)", js(selector), js(text)))
}

// gone waits until nothing that matches a selector shows a text.
func (p *tab) gone(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("no %q in %s", text, selector), fmt.Sprintf("!rig.find(%s, %s)", js(selector), js(text)))
}

// click clicks with the mouse what matches a selector and shows a text, when it can be
// clicked: it is there, enabled, and nothing lies over it. Where it moves just then, again.
func (p *tab) click(selector, text string) {
	p.t.Helper()
	of := fmt.Sprintf("(%s, %s)", js(selector), js(text))
	for {
		p.until(fmt.Sprintf("something to click: %q in %s", text, selector), "rig.target"+of)
		at := eval[[]float64](p, "rig.aim"+of)
		if at == nil {
			continue
		}
		p.do(chromedp.MouseClickXY(at[0], at[1]))
		// A page that it led to knows of no miss.
		if missed, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("globalThis.rig?.missed === true")); err != nil || !missed {
			return
		}
	}
}

// fill puts a text into a field in place of what is there, as typing or pasting does.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.see(selector, "")
	eval[bool](p, fmt.Sprintf("(rig.find(%s, '').focus(), document.activeElement.select(), true)", js(selector)))
	if text == "" {
		p.press("\b")
		return
	}
	p.do(command(input.InsertText, input.InsertTextParams{Text: text}))
}

// press presses keys one after the other. A key that the page takes for itself types
// nothing, as in a browser that people use.
func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		for _, r := range k {
			events := kb.Encode(r)
			down, up := *events[0], *events[len(events)-1]
			if len(events) == 3 {
				down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
			}
			p.do(command(input.DispatchKeyEvent, down), command(input.DispatchKeyEvent, up))
		}
	}
}
