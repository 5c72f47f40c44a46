// The frame of every page: the bar with the search, the pages, and what is said everywhere.
import { html, useState } from '../vendor/ui.js';
import { Icon } from './icons.js';
import { Note, Time, Dialog } from './parts.js';
import { link, place } from './router.js';
import { session, may, line, held, hold, restored, waiting, totals, rows, asOf, logout, jobs, failure, reload } from './state.js';
import { times, store, stored, count, things, local } from './format.js';
import { shortcuts, helpOpen } from './keyboard.js';
import { Search } from './search.js';

const pages = [
  ['', 'overview', 'Overview'], ['keys', 'keys', 'Keys'], ['channels', 'channels', 'Channels', () => rows.value.size], ['dead', 'letters', 'Dead letters', () => totals.value?.dead],
  ['workers', 'workers', 'Workers', null, true], ['activity', 'activity', 'Activity', () => jobs.value.filter((j) => j.state === 'running').length], ['access', 'access', 'Access'],
];

export function Shell({ page, children }) {
  const s = session.value;
  return html`
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById('main').focus(); }}>Skip to the content</a>
    <header class="bar">
      <a class="brand" href="#/"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7h5l6 10h5M4 17h4M16 7h4" /></svg>extsync</a>
      ${may('read') ? html`<${Search} />` : html`<span></span>`}
      <div class="right">
        ${s.place && html`<span class="place">${s.place}</span>`}
        <button type="button" class="btn" aria-pressed=${!held.value} onClick=${() => hold(!held.value)} title="Hold updates still, or let them go on ( . )">
          <${Icon} name=${held.value ? 'paused' : 'live'} /><span class="wide">${held.value ? 'Held' : 'Live'}</span><span class="hide"> updates</span></button>
        <button type="button" class="btn" popovertarget="display"><${Icon} name="display" /><span class="wide">Display</span><span class="hide"> settings</span></button>
        <button type="button" class="btn menu" popovertarget="pages"><${Icon} name="menu" /><span class="hide">Pages</span></button>
      </div>
    </header>
    <${Display} />
    <div class="frame">
      <nav class="pages" id="pages" popover aria-label="Pages"><ul>${pages.filter(([path]) => may('read') || path === 'access').map(([path, icon, name, n, gap]) => html`<li class=${gap ? 'gap' : ''}>
        <a href=${link(path ? [path] : [])} aria-current=${page === path ? 'page' : undefined} onClick=${() => document.getElementById('pages').hidePopover?.()}><${Icon} name=${icon} />${name}${n?.() ? html`<span class="count">${count(n())}</span>` : ''}</a></li>`)}
        <li class="gap who"><span class="quiet small"><${Icon} name="person" /><bdi>${s.who}</bdi></span>${s.login !== 'none' && html`<button type="button" class="btn plain" onClick=${logout}><${Icon} name="out" />Log out</button>`}</li></ul></nav>
      <main id="main" tabindex="-1">
        <${Standing} />
        ${children}
        <footer class="foot"><span>As of ${asOf.value ? html`<${Time} at=${asOf.value} ago=${true} />` : 'now'}</span><span>extsync ${s.version}</span>
          <button type="button" class="btn plain" onClick=${() => { helpOpen.value = true; }}><kbd>?</kbd> keyboard</button></footer>
      </main>
    </div>
    ${helpOpen.value && html`<${Help} />`}`;
}

/** Standing is what is said on every page. */
const Standing = () => html`${restored.value && html`<${Note} tone="stop" role="alert" title="The broker holds older files than before."><p>A worker found it <${Time} at=${restored.value} ago=${true} />. What is shown may be older than what the targets hold. Next: stop workers and publishers, run <code>extsync recover</code> and do what it says.</p><//>`}<${Line} />`;

/** Line says that the server is away, or that updates are held. */
function Line() {
  if (failure.value && (failure.value.status || line.value !== 'lost')) return html`<${Note} tone="stop" role="alert" title="The channels could not be loaded."><p>${failure.value.message}</p><p><button type="button" class="btn" onClick=${reload}>Try again</button></p><//>`;
  if (line.value === 'lost') {
    return html`<${Note} tone="wait" role="alert" title="The server does not answer."><p>What is shown is as of <${Time} at=${asOf.value} ago=${true} />. The console asks again every few seconds; until then nothing can be done from here. Deliveries do not depend on it.</p><//>`;
  }
  if (held.value) {
    return html`<${Note} tone="hand" title="Updates are held still."><p>${waiting.value ? things(waiting.value, 'change waits', 'changes wait') : 'Nothing has changed since'}. <button type="button" class="btn plain" onClick=${() => hold(false)}>Go on</button></p><//>`;
  }
  return null;
}

/** Display chooses theme, times and whether single keys do something. */
function Display() {
  const [theme, setTheme] = useState(stored('extsync.theme', 'system'));
  const pick = (value) => {
    setTheme(value);
    store('extsync.theme', value);
    if (value === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
  };
  const radio = (group, value, now, set, text) => html`<label class="tick"><input type="radio" name=${group} checked=${now === value} onChange=${() => set(value)} />${text}</label>`;
  const setTimes = (value) => { times.value = value; store('extsync.times', value); };
  return html`<div class="pop" id="display" popover role="dialog" aria-label="Display">
    <fieldset><legend>Theme</legend>${radio('theme', 'system', theme, pick, 'As the system')}${radio('theme', 'light', theme, pick, 'Light')}${radio('theme', 'dark', theme, pick, 'Dark')}</fieldset>
    <fieldset><legend>Times</legend>${radio('times', 'relative', times.value, setTimes, 'Relative (14 min)')}${radio('times', 'utc', times.value, setTimes, 'UTC')}${radio('times', 'local', times.value, setTimes, `Local (${local(new Date()).slice(-6)})`)}</fieldset>
    <fieldset><legend>Keyboard</legend><label class="tick"><input type="checkbox" checked=${shortcuts.value} onChange=${(e) => { shortcuts.value = e.target.checked; store('extsync.shortcuts', e.target.checked ? 'on' : 'off'); }} />Single keys act</label></fieldset></div>`;
}

function Help() {
  const list = [['/', 'search'], ['g o', 'Overview'], ['g k', 'Keys'], ['g c', 'Channels'], ['g d', 'Dead letters'], ['g w', 'Workers'], ['g a', 'Activity'], ['g s', 'Access'],
    ['j  k', 'next row, former row'], ['Enter', 'open the row'], ['x', 'select the row'], ['*', 'all that match'], ['.', 'hold updates still, or go on'], ['?', 'this list'], ['Esc', 'close, leave']];
  const close = () => { helpOpen.value = false; };
  return html`<${Dialog} title="Keyboard" onClose=${close}><dl class="keys">${list.map(([k, what]) => html`<div><dt>${k.split(' ').filter(Boolean).map((x) => html`<kbd>${x}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>
    <p class="quiet small">Single keys act only outside of fields. <b>Display</b> switches them off.</p><//>`;
}
