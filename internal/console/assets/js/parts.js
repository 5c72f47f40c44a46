// The parts that pages are made of.
import { html, useEffect, useRef, useState, useId } from '../vendor/ui.js';
import { Icon } from './icons.js';
import { times, now, utc, local, span, middle, visible, count } from './format.js';
import { syncWords, healthWords, syncTone, healthTone } from './words.js';
import { link } from './router.js';
import { acting, held } from './state.js';

/** Sync is the chip of what a target holds, a square one. n: how many keys, if that is to be said. */
export const Sync = ({ of, n }) => html`<span class="chip square ${syncTone[of] ?? 'idle'}"><${Icon} name=${of} /><b>${syncWords[of] ?? of}</b>${n === undefined ? '' : ' ' + count(n)}</span>`;

/** Health is the chip of whether it moves by itself, a round one. */
export const Health = ({ of, n }) => html`<span class="chip round ${healthTone[of] ?? 'idle'}"><${Icon} name=${of} /><b>${healthWords[of] ?? of}</b>${n === undefined ? '' : ' ' + count(n)}</span>`;

/** Time shows a time as the reader wants it; the exact one is its title. ahead: it lies in the future. */
export function Time({ at, ahead = false, ago = false }) {
  if (!at || at.startsWith('0001-')) return html`<span class="quiet">none</span>`;
  const date = new Date(at);
  let text;
  if (times.value === 'utc') text = utc(date);
  else if (times.value === 'local') text = local(date);
  else {
    const s = (now.value - date.getTime()) / 1000;
    text = ahead ? (s > 0 ? 'now' : 'in ' + span(-s)) : span(s) + (ago ? ' ago' : '');
  }
  return html`<time datetime=${date.toISOString()} title=${utc(date)}>${text}</time>`;
}

/** Key links to the page of a key. Long ones are shortened in their middle; their size stands beside them. */
export function Key({ of, channel }) {
  const short = middle(of);
  return html`<a class="mono key" href=${link(['key', of], { channel })}><bdi>${visible(short)}</bdi></a>${short !== of && html` <span class="quiet small">${count(Array.from(of).length)} characters</span>`}`;
}

export const ChannelLink = ({ name, tab }) => html`<a href=${link(tab ? ['channels', name, tab] : ['channels', name])}>${name}</a>`;

/** Why is a reason: a sentence, and the code by which commands, metrics and documents know it. */
export const Why = ({ why }) => (why ? html`<span class="why">${visible(why.text ?? why.message ?? '')} <code class="code">${why.code}</code></span>` : html`<span class="quiet">nothing is open</span>`);

/** Note tells what happened and what it means. tone: info, wait, stop, good, hand. */
export const Note = ({ tone = 'info', title, children, role }) => html`<div class="note ${tone}" role=${role}>
  <${Icon} name=${tone === 'stop' || tone === 'wait' ? 'alert' : 'info'} /><div><p><b>${title}</b></p>${children}</div></div>`;

/** Failure tells why something could not be loaded or done. */
export function Failure({ error, retry, what = 'This could not be loaded' }) {
  if (!error) return null;
  return html`<${Note} tone="stop" title="${what}." role="alert"><p>${visible(error.message)} ${error.reason && html`<code class="code">${error.reason}</code>`}</p>
    ${error.errors?.length > 0 && html`<ul>${error.errors.map((e) => html`<li><code>${e.location}</code>: ${visible(e.message)}</li>`)}</ul>`}
    ${retry && html`<p><button type="button" class="btn" onClick=${retry}>Try again</button></p>`}<//>`;
}

/** Undone tells why something was not done, as far as that is known. */
export const Undone = ({ error, what = 'It was not done' }) => html`<${Failure} error=${error} what=${error?.maybe ? 'It may have been done' : what} />`;

/** Loading stands where rows will be. */
export const Loading = ({ rows = 4, what }) => html`<div class="loading" role="status"><span class="hide">Loading ${what}</span>${Array.from({ length: rows }, () => html`<div class="bone"></div>`)}</div>`;

export const Empty = ({ title, children }) => html`<div class="empty"><p><b>${title}</b></p>${children}</div>`;

/** Copy puts a text into the clipboard, and says so. */
export function Copy({ text, what = 'Copy' }) {
  const [said, say] = useState('');
  useEffect(() => { if (!said) return undefined; const t = setTimeout(() => say(''), 2000); return () => clearTimeout(t); }, [said]);
  const copy = async () => { try { await navigator.clipboard.writeText(text); say('Copied'); } catch { say('Select it, and copy it by hand'); } };
  return html`<button type="button" class="btn plain" onClick=${copy}><span aria-live="polite">${said || what}</span></button>`;
}

/** Command shows the command that does the same. It wraps, and is never cut. */
export const Command = ({ text }) => html`<div class="command"><code><span class="prompt" aria-hidden="true">$ </span>${visible(text)}</code><${Copy} text=${text} /></div>`;

/** Button is one that acts on the server: it is off while that is away. */
export function Act({ children, onClick, tone = '', disabled = false, describe }) {
  return html`<button type="button" class="btn ${tone}" disabled=${disabled || !acting.value} title=${acting.value ? undefined : 'The server does not answer'} aria-describedby=${describe} onClick=${onClick}>${children}</button>`;
}

/** Dialog is a native one: Esc leaves it, and the focus goes back to where it was. */
export function Dialog({ title, onClose, children, actions, wide = false }) {
  const ref = useRef();
  const id = useId();
  useEffect(() => {
    const d = ref.current;
    const before = document.activeElement;
    d.showModal();
    d.querySelector('[data-first]')?.focus();
    return () => { d.close(); before?.focus?.(); };
  }, []);
  return html`<dialog ref=${ref} class=${wide ? 'wide' : ''} aria-labelledby=${id} onCancel=${(e) => { e.preventDefault(); onClose(); }}>
    <div class="inside"><h2 id=${id}>${title}</h2>${children}</div><div class="actions"><button type="button" class="btn" onClick=${onClose}>Cancel</button>${actions}</div></dialog>`;
}

/** Tally lists numbers that add up, with a shape and a sentence each. */
export const Tally = ({ of }) => html`<ul class="tally">${of.map((l) => html`<li class=${l.tone ?? ''}><${Icon} name=${l.icon ?? 'info'} /><b class="num">${count(l.n)}</b><span>${l.text}${l.more && html`<small>${l.more}</small>`}</span></li>`)}</ul>`;

/** Card is a part of a page with a heading. */
export function Card({ title, hint, right, children, class: cls = '' }) {
  const id = useId();
  return html`<section class="card ${cls}" aria-labelledby=${id}><div class="head"><h2 id=${id}>${title}</h2>${hint && html`<span class="quiet small">${hint}</span>`}${right && html`<div class="push">${right}</div>`}</div>${children}</section>`;
}

/** Spark draws rates as a line. */
export function Spark({ points, label }) {
  if (!points || points.length < 2) return html`<span class="quiet small">no rate yet</span>`;
  const most = Math.max(...points, 1);
  const step = 120 / (points.length - 1);
  const d = points.map((p, i) => `${i ? 'L' : 'M'}${(i * step).toFixed(1)} ${(22 - (p / most) * 20).toFixed(1)}`).join('');
  return html`<svg class="spark" viewBox="0 0 120 24" role="img" aria-label=${label}><path d=${d} /></svg>`;
}

/** Bars draws how many came when. */
export function Bars({ of, label }) {
  const most = Math.max(...of, 1);
  return html`<svg class="bars" viewBox="0 0 ${of.length * 8} 24" role="img" aria-label=${label}>${of.map((n, i) => html`<rect x=${i * 8} width="6" y=${n ? 24 - Math.max(3, (n / most) * 24) : 22.5} height=${n ? Math.max(3, (n / most) * 24) : 1.5} />`)}</svg>`;
}

/** Table is one whose cells say their column when the page is narrow. */
export const Table = ({ label, heads, children }) => html`<table aria-label=${label}><thead><tr>${heads.map((x) => { const h = typeof x === 'string' ? { text: x } : x; return html`<th scope="col" class=${h.class}>${h.text || html`<span class="hide">Actions</span>`}</th>`; })}</tr></thead><tbody>${children}</tbody></table>`;
export const Cell = ({ of, class: cls, children }) => html`<td class=${cls} data-of=${of}>${children}</td>`;

/** useAsk loads something, and again when what it depends on changes. What is shown stays until the new has come. */
export function useAsk(ask, deps) {
  const [state, set] = useState({ data: null, error: null, busy: true });
  const turn = useRef(0);
  const wait = useRef(0);
  const run = () => {
    const mine = ++turn.current;
    const stop = new AbortController();
    set((s) => ({ ...s, busy: true }));
    Promise.resolve(stop.signal).then(ask).then(
      (data) => { wait.current = 0; if (mine === turn.current) set({ data, error: null, busy: false }); },
      (error) => { if (mine === turn.current && error.name !== 'AbortError') set((s) => ({ data: s.data, error, busy: false })); },
    );
    return () => stop.abort();
  };
  useEffect(run, deps);
  // Who is away comes back, and is asked again by itself: after 5 s, and then ever less often.
  const away = state.error && !state.busy && (state.error.status === 0 || state.error.status >= 500);
  useEffect(() => {
    if (!away) return undefined;
    wait.current = Math.min(60000, wait.current * 2 || 5000);
    const t = setInterval(() => { if (!document.hidden) run(); }, wait.current);
    return () => clearInterval(t);
  }, [away]);
  return { ...state, again: run };
}

/** useEvery does something again and again, but not while nobody looks, or while updates are held. */
export function useEvery(ms, run) {
  const last = useRef();
  last.current = run;
  useEffect(() => { const t = setInterval(() => { if (!document.hidden && !held.value) last.current(); }, ms); return () => clearInterval(t); }, [ms]);
}

/** Typed is a field that keeps what is typed until that is done, whatever is drawn anew meanwhile. */
export function Typed({ value, onDone, ...rest }) {
  const [text, set] = useState(null);
  return html`<input ...${rest} value=${text ?? value} onInput=${(e) => set(e.target.value)} onChange=${(e) => { onDone(e.target.value); set(null); }} />`;
}

/** useSteady keeps the order of a list while somebody is in it, with the pointer or the focus; fresh counts what waits. */
export function useSteady(items, id) {
  const [inside, enter] = useState(false);
  const shown = useRef([]);
  const fresh = items.filter((i) => !shown.current.includes(id(i)));
  if (!inside || shown.current.length === 0) shown.current = items.map(id);
  const byID = new Map(items.map((i) => [id(i), i]));
  const past = useRef(new Map());
  for (const i of items) past.current.set(id(i), i);
  const list = shown.current.map((k) => ({ item: byID.get(k) ?? past.current.get(k), gone: !byID.has(k) }));
  if (!inside) past.current = byID;
  return {
    list, fresh: inside ? fresh.length : 0,
    show: () => { shown.current = items.map(id); enter(false); },
    hold: { onMouseEnter: () => enter(true), onMouseLeave: () => enter(false), onFocusIn: () => enter(true), onFocusOut: () => enter(false) },
  };
}
