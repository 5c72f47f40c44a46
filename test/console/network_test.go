package console_test

import "testing"

// Of more channels than can be looked over the most urgent are drawn, all are counted, and the
// others are drawn for who asks. On a narrow page those that are in sync are folded.
func TestNetworkOfManyChannels(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.tab(wide(), "access")
	eval[bool](p, `(async () => {
		const { html, render } = await import(rig.module("../vendor/ui.js"));
		const { Network } = await import(rig.module("network.js"));
		const rows = Array.from({ length: 310 }, (_, i) => ({ channel: "c-" + String(i).padStart(3, "0"), kind: "sql", health: i % 100 === 99 ? "blocked" : "ok", not_newest: 0, keys: 1, sync: { in_sync: 1 }, settled_rate: 0 }));
		const place = document.querySelector("main").appendChild(document.createElement("section"));
		place.id = "many";
		render(html`+"`<${Network} rows=${rows} topics=${[]} />`"+`, place);
		return true;
	})()`)
	p.see("#many .byhealth", "blocked 3 ok 307")
	if first := eval[string](p, `rig.text(document.querySelector("#many .tile"))`); first != "c-099" {
		t.Errorf("%q is the first tile; c-099 is the most urgent", first)
	}
	tiles := func() int {
		return eval[int](p, `[...document.querySelectorAll("#many .tile")].filter(rig.visible).length`)
	}
	if n := tiles(); n != 300 {
		t.Errorf("%d channels are drawn at first, not 300", n)
	}
	p.axe("")
	p.click("#many button", "Draw them")
	p.gone("#many button", "Draw them")
	if n := tiles(); n != 310 {
		t.Errorf("%d channels are drawn for who asks, not 310", n)
	}
	p.look(view{width: 360, height: 740})
	p.see("#many .folded", "307 channels are in sync")
	if n := tiles(); n != 3 {
		t.Errorf("%d channels are drawn on a narrow page, not the 3 that are not in sync", n)
	}
}
