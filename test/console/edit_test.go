package console_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
)

// yaml puts a text into the editor in place of a part of what is there.
func (p *tab) yaml(old, text string) {
	p.t.Helper()
	is := eval[string](p, `document.getElementById("yaml").value`)
	if strings.Count(is, old) != 1 {
		p.fatal("the YAML does not have %q once:\n%s", old, is)
	}
	p.fill("#yaml", strings.Replace(is, old, text, 1))
}

// A channel is edited on either side, tried over its last updates, saved, and brought back.
func TestEditAChannelWithADryRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) { c.Mapping = "{status}" })
	for i := range 3 {
		r.publish("portal", fmt.Sprintf("k%d", i), "1", fmt.Sprintf(`{"status":"open","agent":"agent %d"}`, i))
		r.state("portal", fmt.Sprintf("k%d", i), "1", "delivered")
	}
	p := r.tab(wide(), "channels/portal/config")
	p.allow("status of 422") // a draft that the server would refuse
	p.see("#yaml-said", "Nothing is changed.")

	// What the server would refuse is said while one writes, and cannot be saved.
	p.yaml("mapping: \"{status}\"", "mapping: \"{status\"")
	p.see("#yaml-said", "The server would refuse it.")
	p.see("#yaml-said", "mapping")
	p.until("saving to be off", `rig.find("button", "Save…").disabled`)
	p.fill("#yaml", "name: [")
	p.see("#yaml-said", "It is not valid YAML.")
	p.until("the form to wait", `document.querySelector(".editor [inert] #kind")`)
	p.click("button", "Undo my changes")
	p.see("#yaml-said", "Nothing is changed.")

	p.yaml("mapping: \"{status}\"", "mapping: \"{status, agent}\"")
	p.see("#yaml-said", "1 changed: mapping")
	p.see("main", "mapping_changed")
	p.until("the form to have it, too", `[...document.querySelectorAll("fieldset textarea")].some((e) => e.value === "{status, agent}")`)
	p.click("section[aria-labelledby] button", "Run")
	p.see(".tally", "3 would be sent with other content")
	p.see("table[aria-label=Samples]", "agent 2")
	if got := r.shelf.holds("portal", "k2"); got != "1" || r.shelf.writes("portal", "k2") != 1 {
		t.Error("a dry run has sent something")
	}
	p.yaml("agent}\"", "agent, ssn}\"")
	p.gone(".tally", "") // it was of another draft
	p.yaml("agent, ssn}\"", "agent}\"")
	p.see("#yaml-said", "1 changed: mapping")

	// It is there when one comes back, and so is what another kind had.
	p.goTo("channels")
	p.goTo("channels/portal/config")
	p.see("#yaml-said", "1 changed: mapping")
	for _, kind := range []string{"sql", "http"} {
		eval[bool](p, `(() => { const e = document.getElementById("kind"); e.value = `+js(kind)+`; e.dispatchEvent(new Event("change", { bubbles: true })); return true; })()`)
		p.until("the kind to be chosen", `document.getElementById("yaml").value.includes("kind: `+kind+`")`)
	}
	p.see("#yaml-said", "1 changed: mapping")
	p.click("button", "Save…")
	p.see("dialog[open] li", "mapping")
	p.click("dialog[open] button", "Save 1 change")
	p.see("main .note", "Saved as revision")
	p.see("#yaml-said", "Nothing is changed.")
	if c := r.config("portal"); c.Mapping != "{status, agent}" {
		t.Errorf("the mapping is %q", c.Mapping)
	}

	// The history brings the one before back as a draft.
	p.see("table[aria-label=Revisions]", "mapping")
	p.click("table[aria-label=Revisions] button", "Go back to it")
	p.see("#yaml-said", "1 changed: mapping")
	p.click("button", "Save…")
	p.click("dialog[open] button", "Save 1 change")
	p.see("main .note", "Saved as revision")
	if c := r.config("portal"); c.Mapping != "{status}" {
		t.Errorf("the mapping is %q", c.Mapping)
	}
}

// What is typed under "More settings" goes into one field, which keeps the focus.
func TestMoreSettingsAreTypedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), "channels/portal/config")
	p.allow("status of 422") // a draft that the server would refuse
	eval[bool](p, `(() => {
		globalThis.field = document.querySelector("fieldset details input[type=text]");
		field.closest("details").open = true;
		field.focus();
		return true;
	})()`)
	p.press("1", "2", "3")
	p.until("the field to have it all, and the focus", `document.activeElement === field && field.isConnected && field.value === "123"`)
	p.see("#yaml-said", "")
}

// Two people edit one channel. Whoever saves second sees both changes field by field, keeps
// what is right, and loses nothing.
func TestTwoEditorsInConflict(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) { c.Description = "before" })
	one, two := r.tab(wide(), "channels/portal/config"), r.tab(wide(), "channels/portal/config")
	one.allow("412") // that is the refusal
	two.yaml("description: before", "description: of the second")
	two.yaml("concurrency: 16", "concurrency: 8")
	one.yaml("description: before", "description: of the first")
	one.yaml("window: 1024", "window: 512")
	for _, p := range []*tab{two, one} {
		p.see("#yaml-said", "2 changed")
		p.click("button", "Save…")
		p.click("dialog[open] button", "Save 2 changes")
	}
	two.see("main .note", "Saved as revision")
	one.see("section[aria-label=Conflict] h2", "Somebody saved revision")
	one.see("section[aria-label=Conflict]", "1 field was changed by both of you: choose.")
	one.see("section[aria-label=Conflict] table", "of the second")
	if c := r.config("portal"); c.Description != "of the second" || c.Window != 1024 {
		t.Errorf("the second save was overwritten before anybody chose: %+v", c)
	}
	one.click("section[aria-label=Conflict] label", "yours")
	one.click("button", "Go on with both")
	one.gone("section[aria-label=Conflict]", "")
	one.see("#yaml-said", "2 changed")
	one.click("button", "Save…")
	one.click("dialog[open] button", "Save 2 changes")
	one.see("main .note", "Saved as revision")
	if c := r.config("portal"); c.Description != "of the first" || c.Window != 512 || c.Concurrency != 8 {
		t.Errorf("both changes: description %q, window %d, concurrency %d", c.Description, c.Window, c.Concurrency)
	}
}

// config returns the configuration that is in use.
func (r *rig) config(name string) channels.Config {
	r.t.Helper()
	c, err := r.stack.Channel(r.t.Context(), name)
	r.must(err)
	return c.Entry.Config
}

// writes counts what of a key took effect at the shelf.
func (s *shelf) writes(room, key string) (n int) {
	s.Set(func() { n = s.Writes[path(room, key)] })
	return n
}
