// The search in the bar: a key that is there at once, channels, targets, and keys that begin so.
import { html, useState, useEffect, useRef } from '../vendor/ui.js';
import { get } from './api.js';
import { Icon } from './icons.js';
import { go, link } from './router.js';
import { middle, visible, count } from './format.js';
import { Sync, Health } from './parts.js';

/** flat makes one list of what was found, in the order in which it is shown. */
function flat(found, q) {
  const out = [];
  if (found?.key) out.push({ id: 'key', to: link(['key', q]), text: q, hint: 'the key itself', mono: true });
  for (const c of found?.channels ?? []) out.push({ id: 'c' + c, to: link(['channels', c]), text: c, hint: 'channel' });
  for (const t of found?.topics ?? []) out.push({ id: 't' + t, to: link(['channels'], { topic: t }), text: t, hint: 'topic' });
  for (const t of found?.targets ?? []) out.push({ id: 'r' + t.channel, to: link(['channels', t.channel]), text: t.target, hint: 'target of ' + t.channel });
  for (const e of found?.prefix?.entities ?? []) out.push({ id: 'e' + e.channel + '/' + e.key, to: link(['key', e.key], { channel: e.channel }), text: e.key, hint: e.channel, mono: true, entity: e });
  return out;
}

export function Search() {
  const [q, setQ] = useState('');
  const [found, setFound] = useState(null);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const [error, setError] = useState(null);
  const field = useRef();
  useEffect(() => {
    setAt(-1);
    if (!q) { setFound(null); return undefined; }
    const stop = new AbortController();
    const t = setTimeout(() => get('search', { q }, stop.signal).then((f) => { setFound({ ...f, q }); setError(null); }, (e) => { if (e.name !== 'AbortError') setError(e); }), 150);
    return () => { clearTimeout(t); stop.abort(); };
  }, [q]);
  const fresh = found?.q === q;
  const list = fresh ? flat(found, q) : [];
  const leave = () => { setOpen(false); setQ(''); field.current.blur(); };
  const keys = (e) => {
    if (e.key === 'ArrowDown' || e.key === 'ArrowUp') {
      e.preventDefault();
      setAt((n) => Math.max(-1, Math.min(list.length - 1, n + (e.key === 'ArrowDown' ? 1 : -1))));
    } else if (e.key === 'Enter' && q) {
      e.preventDefault();
      if (at >= 0 || list[0]?.id === 'key') location.hash = list[Math.max(at, 0)].to;
      else go(['keys'], { prefix: q });
      leave();
    } else if (e.key === 'Escape') leave();
  };
  const p = found?.prefix;
  return html`<div class="find" role="search" onFocusOut=${(e) => { if (!e.currentTarget.contains(e.relatedTarget)) setOpen(false); }}>
    <${Icon} name="find" /><label class="hide" for="search">Find a key, channel or target</label>
    <input id="search" ref=${field} type="search" autocomplete="off" spellcheck=${false} placeholder="Find a key, channel or target" value=${q} role="combobox" aria-expanded=${open && q !== ''} aria-controls="found"
      aria-activedescendant=${at >= 0 ? 'found-' + at : undefined} maxlength="1024" onInput=${(e) => { setQ(e.target.value); setOpen(true); }} onFocus=${() => setOpen(true)} onKeyDown=${keys} /><kbd aria-hidden="true">/</kbd>
    <div class="found" id="found" role="listbox" aria-label="Found" hidden=${!open || !q}>
      ${list.map((f, i) => html`<a key=${f.id} role="option" id=${'found-' + i} aria-selected=${i === at} tabindex="-1" href=${f.to} onClick=${leave}><span class=${f.mono ? 'mono' : ''}><bdi>${visible(middle(f.text))}</bdi></span><span class="quiet small">${f.hint}</span>${f.entity && html`<span class="chips"><${Sync} of=${f.entity.sync} /><${Health} of=${f.entity.health} /></span>`}</a>`)}
      ${open && q && html`<p class="quiet small" role="option" aria-disabled="true" aria-selected="false">${error ? error.message : !fresh ? 'Looking…' : list.length === 0 ? 'Nothing is so named, and no key begins so.' : p?.more ? `Looked at ${count(p.looked)} of ${count(p.of)} records; Enter looks further.` : 'Enter lists the keys that begin so.'}</p>`}
    </div></div>`;
}
