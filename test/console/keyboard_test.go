package console_test

import (
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// The keyboard alone opens a key by its name.
func TestKeyboardFindsAKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	furnish(r)
	p := r.tab(wide(), "")
	p.press("/")
	p.until("the focus to be in the search", `document.activeElement.id === "search"`)
	p.press("c", "a", "s", "e", "-", "2")
	p.see("#found [role=option]", "the key itself")
	p.press(kb.Enter)
	p.see("h1", "case-2")
	p.loaded()
	p.see("main", "archive")

	// What begins so is a list of what has that name, too, and arrows go through it.
	p.press("/")
	p.press("p", "o", "r", "t")
	p.see("#found [role=option]", "portal")
	p.press(kb.ArrowDown, kb.Enter)
	p.see("h1", "portal")

	// Escape leaves, and letters are typed, not acts.
	p.press("/", "g", "d")
	p.until("the letters to be in the search", `document.getElementById("search").value === "gd"`)
	p.press(kb.Escape)
	p.until("the search to be left", `document.activeElement.id !== "search" && document.getElementById("search").value === ""`)
	p.see("h1", "portal")
}

// It goes to the dead letters, to the first row, and opens that.
func TestKeyboardOpensARow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	furnish(r)
	p := r.tab(wide(), "")
	p.press("g", "d")
	p.see("h1", "Dead letters")
	p.loaded()
	p.until("the group to be open", `document.querySelector("details.group[open]")`) // there is one only
	p.press("j", "j")
	p.until("the first letter to have the focus", `document.activeElement.matches("tr[data-row]")`)
	p.press(kb.Enter)
	p.see("h1", "case-")
	p.press("g", "c")
	p.see("h1", "Channels")
	p.press("j")
	p.until("a channel to have the focus", `document.activeElement.matches("tr[data-row]")`)
	p.press("k", kb.Enter)
	p.until("a channel to be open", `location.hash.startsWith("#/channels/")`)
	p.loaded()
}

// Enter opens and closes a group of dead letters, and follows a line of the network; rows that are
// not shown are stepped over.
func TestKeyboardTakesRowsAsTheyAre(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	furnish(r)
	p := r.tab(wide(), "dead")
	p.until("the group to be open", `document.querySelector("details.group[open]")`) // there is one only
	p.press("j", kb.Enter)
	p.until("the group to be closed", `document.querySelector("details.group:not([open])")`)
	p.press(kb.Enter)
	p.until("the group to be open again", `document.querySelector("details.group[open]")`)

	p.goTo("")
	p.see("details.mends:not([open]) summary", "itself")
	reasons := eval[int](p, `document.querySelectorAll("main :not(details) > ul.reasons > [data-row]").length`)
	for range reasons + 1 {
		p.press("j")
	}
	p.until("a line of the network to have the focus", `document.activeElement.matches("a.line")`)
	p.press(kb.Enter)
	p.until("its channel to be open", `location.hash.startsWith("#/channels/")`)
	p.loaded()
}

// It shows what keys there are, leaves that by Escape, and the focus is where it was.
func TestKeyboardHelpOpensAndCloses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), "channels")
	p.press("j")
	p.until("the row to have the focus", `document.activeElement.matches("tr[data-row]")`)
	p.press("?")
	p.see("dialog[open] h2", "Keyboard")
	p.press("g", "d") // a dialog takes no single keys
	p.press(kb.Escape)
	p.until("the dialog to be closed", `!document.querySelector("dialog")`)
	p.until("the row to have the focus again", `document.activeElement.matches("tr[data-row]")`)
	p.see("h1", "Channels")

	// Single keys can be switched off.
	p.click("button", "Display")
	p.click("label", "Single keys act")
	p.press(kb.Escape)
	eval[bool](p, "(document.activeElement.blur(), true)")
	p.press("?")
	if eval[bool](p, `!!document.querySelector("dialog")`) {
		t.Error("single keys act although they are switched off")
	}
}

// Tab and Enter pause a channel: the first stop skips what is on every page.
func TestKeyboardPausesAChannel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), "channels/portal")
	p.press(kb.Tab)
	p.until("the first stop to skip the rest", `document.activeElement.matches("a.skip")`)
	p.press(kb.Enter)
	p.until("the focus to be in the content", `document.activeElement.id === "main"`)
	p.tabTo("Pause…")
	p.press(kb.Enter)
	p.see("dialog[open] h2", "Pause portal?")
	p.tabTo("Pause the channel")
	p.press(kb.Enter)
	p.until("the dialog to be closed", `!document.querySelector("dialog")`)
	p.see("main", "paused")
	p.tabTo("Resume…")
	r.eventually("portal", "paused", func(c row) bool { return c.State == "paused" })
}

// tabTo presses Tab until what shows a text has the focus, and checks that each stop can be
// seen.
func (p *tab) tabTo(text string) {
	p.t.Helper()
	for range 100 {
		p.press(kb.Tab)
		if hidden := eval[string](p, `(() => { const e = document.activeElement; const r = e.getBoundingClientRect();
			return e === document.body || (r.width > 0 && r.bottom > 0 && r.top < innerHeight) ? "" : e.outerHTML.slice(0, 200); })()`); hidden != "" {
			p.t.Errorf("the focus is where nobody sees it: %s", hidden)
		}
		if eval[string](p, "rig.text(document.activeElement)") == text {
			return
		}
	}
	p.fatal("Tab does not come to %q", text)
}
