package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// hostile are texts that do harm where they are not shown as text.
var hostile = []string{ //nolint:gochecknoglobals // a list
	`<script>document.title='owned'</script>`,
	`"><img src=x onerror="document.title='owned'">`,
	`javascript:document.title='owned'`,
	"gnp.\u202eexe",
	`'; </title></textarea></style><svg onload=document.title='owned'>`,
	`${document.title='owned'} {{7*7}} <!--`,
}

// Whatever is in keys, payloads, descriptions and answers of targets is shown as text: no
// part of it becomes an element, runs, or turns the text around it.
func TestHostileTextsAreShownAsText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	refusing := newShelf(t)
	refusing.Answers(func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(strings.Join(hostile, "\n"))) // the caller may have gone
	})
	r.apply(channels.File{
		Topics: []channels.Topic{{Name: "topic", Description: hostile[0], MaxBytes: 16 << 20}},
		Channels: []channels.Config{
			channelOf("crm", "http", refusing.connector("crm"), func(c *channels.Config) {
				c.Description, c.Retry.MaxAttempts = strings.Join(hostile, " "), 1
			}),
			channelOf("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) { c.Description = hostile[1] }),
		},
	})
	for _, text := range hostile {
		for _, channel := range []string{"crm", "portal"} {
			u := events.Update{Channel: channel, Key: text, Version: testkit.Number(7), Payload: document(t, map[string]any{text: text, "list": hostile})}
			r.put(u)
		}
		r.state("crm", text, "7", "dead_lettered")
		r.state("portal", text, "7", "delivered")
		held, _ := json.Marshal(map[string]any{text: text + " other", "list": text})
		r.shelf.change("portal", text, string(held))
	}
	p := r.tab(wide(), "")
	for _, hash := range []string{"", "keys?channel=crm", "channels", "channels/crm", "channels/crm/config", "dead", "activity", "workers"} {
		p.goTo(hash)
		p.harmless(hash)
	}
	p.goTo("dead?channel=crm")
	p.click("button", "Payload")
	p.see("pre.payload", "list")
	p.harmless("a dead letter's payload")
	for _, text := range hostile {
		at := "key/" + url.PathEscape(text) + "?channel=portal"
		p.goTo(at)
		p.see("h1", shown(text))
		p.click("button", "Show the payload")
		p.see("pre.payload", "list")
		p.click("button", "Read back")
		p.see("table", "The target holds")
		p.harmless(at)
		p.goTo("keys?prefix=" + url.QueryEscape(text))
		p.see("p.exact", shown(text))
		p.harmless("keys that begin with " + text)
	}
	// What is in the address is hostile, too.
	for _, text := range hostile {
		for _, hash := range []string{"channels/" + url.PathEscape(text), "channels/portal/" + url.PathEscape(text), "keys?sync=" + url.QueryEscape(text), "dead?channel=" + url.QueryEscape(text)} {
			p.allow("status of 4") // there is no such thing
			p.goTo(hash)
			p.harmless(hash)
		}
	}
}

// shown is how the console writes a text: marks that turn text around are written out.
func shown(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\u202e", `\u202e`)), " ")
}

// harmless fails the test if a hostile text has become more than text.
func (p *tab) harmless(where string) {
	p.t.Helper()
	found := eval[[]string](p, `(() => {
		const out = [];
		if (document.title.includes("owned") && !location.hash.includes("owned")) out.push("the title is " + document.title);
		if (document.title === "owned") out.push("a script has run");
		for (const e of document.querySelectorAll("main script, main img, main iframe, main style, main object, svg[onload], [onerror]")) out.push(e.outerHTML.slice(0, 100));
		for (const a of document.querySelectorAll("a")) if (!/^(#|https?:|blob:)/.test(a.getAttribute("href") ?? "#")) out.push("a link to " + a.getAttribute("href"));
		const marks = document.querySelector("main").innerText.match(/[\u202a-\u202e\u2066-\u2069\u200e\u200f]/g);
		if (marks) out.push("marks that turn text around: " + marks.length);
		return out;
	})()`)
	for _, f := range found {
		p.t.Errorf("%s: %s", where, f)
	}
}
