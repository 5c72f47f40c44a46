package console_test

// helpers is what tests use inside of a page.
const helpers = `globalThis.rig ??= {
  // visible: it has a size and is not hidden, not even by a dialog that is not open.
  visible(e) { return e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden"; },
  text(e) { return (e.innerText ?? e.textContent).replace(/\s+/g, " ").trim(); },
  find(selector, text) {
    const fits = [...document.querySelectorAll(selector)].filter((e) => rig.visible(e) && (text === "" || rig.text(e).includes(text)));
    return fits.find((e) => rig.text(e) === text) ?? fits[0];
  },
  // module returns the address of a module of the page.
  module(name) { return new URL(name, document.querySelector("script[type=module]").src).href; },
  // target returns the middle of what can be clicked there, null if nothing can.
  target(selector, text) {
    const e = rig.find(selector, text);
    if (!e || e.matches(":disabled")) return null;
    e.scrollIntoView({ block: "center", behavior: "instant" });
    const r = e.getClientRects()[0];
    const at = [r.x + r.width / 2, r.y + r.height / 2];
    const hit = document.elementFromPoint(...at);
    return hit && rig.meets(e, hit) ? at : null;
  },
  meets(e, hit) { return e.contains(hit) || hit.contains(e) || hit.closest("label")?.control === e; },
  // aim has the next click do nothing if it does not meet what can be clicked there: what came
  // meanwhile may have moved it, also while the button was down. missed says so.
  aim(selector, text) {
    const at = rig.target(selector, text);
    if (!at) return null;
    const e = rig.find(selector, text);
    rig.armed?.abort();
    rig.armed = new AbortController();
    rig.missed = true;
    for (const kind of ["pointerdown", "mousedown", "pointerup", "mouseup", "click"]) {
      addEventListener(kind, (event) => {
        const met = rig.meets(e, event.target);
        if (kind === "pointerdown") rig.hit = met;
        if (kind === "click") rig.missed = !rig.hit || !met;
        if (!rig.hit || (kind === "click" && !met)) { event.preventDefault(); event.stopImmediatePropagation(); }
        if (kind === "mouseup") setTimeout(() => rig.armed.abort());
      }, { capture: true, signal: rig.armed.signal });
    }
    return at;
  },
  until(holds) {
    return new Promise((resolve, reject) => {
      const events = ["focusin", "focusout", "hashchange", "input", "change", "toggle", "scroll", "resize"];
      const look = () => {
        let yes = false;
        try { yes = !!holds(); } catch (e) { stop(); reject(e); return; }
        if (yes) { stop(); resolve(true); }
      };
      const seen = new MutationObserver(look);
      const stop = () => { seen.disconnect(); for (const e of events) removeEventListener(e, look, true); };
      seen.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
      for (const e of events) addEventListener(e, look, true);
      look();
    });
  },
};
`
