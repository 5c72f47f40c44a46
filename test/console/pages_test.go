package console_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/hms-utl/extsync/internal/testkit"
)

// picturesVariable names a directory for pictures of all pages.
const picturesVariable = "EXTSYNC_CONSOLE_PICTURES"

// pages are all that the console has, with what has to be done there first.
var pages = []struct { //nolint:gochecknoglobals // a list
	name, hash string
	then       func(*tab)
	refused    string // what the page may ask for in vain
	shows      string // in a narrow window, too
}{
	{name: "overview", hash: ""},
	{name: "keys", hash: "keys"},
	{name: "keys-of-a-channel", hash: "keys?channel=portal"},
	{name: "key", hash: "key/case-1"},
	{name: "key-that-waits", hash: "key/policy-1?channel=partner"},
	{name: "channels", hash: "channels"},
	{name: "channel", hash: "channels/portal"},
	{name: "channel-down", hash: "channels/partner"},
	{name: "config", hash: "channels/portal/config"},
	{name: "resync", hash: "channels/portal/resync", refused: "/v1/channels/portal/resync"}, // 404: there was none
	{name: "audit", hash: "channels/portal/audit"},
	{name: "dead", hash: "dead?channel=crm"},
	{name: "workers", hash: "workers"},
	{name: "activity", hash: "activity", shows: "changed"},
	{name: "access", hash: "access"},
	{name: "nowhere", hash: "nowhere/at/all", then: func(p *tab) { p.see("main", "There is no such page.") }},
	{name: "dialog-pause", hash: "channels/portal", then: func(p *tab) {
		p.click("button", "Pause…")
		p.see("dialog[open] h2", "Pause portal?")
	}},
	{name: "dialog-keyboard", hash: "", then: func(p *tab) {
		p.press("?")
		p.see("dialog[open] h2", "Keyboard")
	}},
	{name: "display", hash: "", then: func(p *tab) {
		p.click("button", "Display")
		p.see("#display legend", "Theme")
	}},
}

// On every page axe finds nothing in either theme, and a window of 360 pixels needs no
// scrolling sideways. With picturesVariable each page is drawn, too.
func TestPagesKeepNobodyOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	furnish(r)
	for _, pg := range pages {
		t.Run(pg.name, func(t *testing.T) {
			r := *r
			r.t = t
			p := r.tab(wide(), nowhere)
			if pg.refused != "" {
				p.allow(pg.refused)
			}
			p.do(chromedp.Navigate(p.url + "#/" + pg.hash))
			if pg.then == nil {
				p.loaded()
			} else {
				p.until("the page to be there", `document.querySelector("main") && !document.querySelector(".loading")`)
				p.quiet()
				pg.then(p)
			}
			p.look(wide())
			p.axe("")
			p.picture(pg.name + "-light")
			dark := wide()
			dark.dark = true
			p.look(dark)
			p.axe("color-contrast") // all else is as it was
			p.picture(pg.name + "-dark")
			p.look(view{width: 360, height: 740})
			p.see("main", pg.shows)
			p.fits()
			p.axe("") // other things are shown, in other places
			p.picture(pg.name + "-narrow")
		})
	}
}

// look changes how the tab looks.
func (p *tab) look(v view) {
	p.t.Helper()
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	p.do(
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}),
		chromedp.EmulateViewport(v.width, v.height),
	)
}

// axe fails the test for each thing that keeps people out; rule restricts it to one rule.
func (p *tab) axe(rule string) {
	p.t.Helper()
	if !eval[bool](p, `"axe" in globalThis`) {
		eval[bool](p, axe+"; true")
	}
	only := `{type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}`
	if rule != "" {
		only = `{type: "rule", values: [` + js(rule) + `]}`
	}
	found := eval[string](p, `axe.run(document, {runOnly: `+only+`, resultTypes: ["violations"], preload: false, elementRef: false})
		.then((r) => JSON.stringify(r.violations.flatMap((v) => v.nodes.map((n) => [v.id, v.help, n.target.join(" "), n.html.slice(0, 200), n.failureSummary]))))`)
	var list [][]string
	testkit.Must(p.t, json.Unmarshal([]byte(found), &list))
	for _, f := range list {
		p.t.Errorf("axe: %s", strings.Join(f, "\n\t"))
	}
}

// fits fails the test if the page has to be scrolled sideways.
func (p *tab) fits() {
	p.t.Helper()
	wide := eval[[]string](p, `(() => {
		const most = document.documentElement.clientWidth;
		if (document.scrollingElement.scrollWidth <= most) return [];
		return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > most + 1)
			.map((e) => e.tagName + "." + (e.getAttribute("class") ?? "") + " to " + e.getBoundingClientRect().right + ": " + e.textContent.slice(0, 60)).slice(0, 12).concat("scrollWidth " + document.scrollingElement.scrollWidth);
	})()`)
	if len(wide) > 0 {
		p.t.Errorf("it must be scrolled sideways: %s", strings.Join(wide, "\n\t"))
	}
}

// picture draws the page, where somebody has asked for pictures.
func (p *tab) picture(name string) {
	p.t.Helper()
	dir := os.Getenv(picturesVariable)
	if dir == "" {
		return
	}
	testkit.Must(p.t, os.MkdirAll(dir, 0o750))
	ctx, cancel := context.WithTimeout(p.ctx, testkit.Patience)
	defer cancel()
	drawn, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	testkit.Must(p.t, err)
	testkit.Must(p.t, os.WriteFile(filepath.Join(dir, name+".png"), drawn, 0o600))
}
