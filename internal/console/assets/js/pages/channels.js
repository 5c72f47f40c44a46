// Channels: both axes of each, those that are not ok first. On narrow screens those that are in sync are folded.
import { html, useState } from '../../vendor/ui.js';
import { place, refine, go } from '../router.js';
import { rows, loaded, may, history, topics } from '../state.js';
import { Card, ChannelLink, Health, Sync, Time, Loading, Empty, Table, Cell, Spark, Dialog, useSteady } from '../parts.js';
import { count, rate, things, visible } from '../format.js';
import { healthOrder, healthWords, urgency, syncOf, isQuiet } from '../words.js';

const perPage = 100;

export function Channels() {
  const q = place.value.query;
  const health = q.get('health') ?? '';
  const topic = q.get('topic') ?? '';
  const text = (q.get('name') ?? '').toLowerCase();
  const [asked, setPage] = useState(0);
  const all = [...rows.value.values()];
  const list = all.filter((r) => (!health || health.split(',').includes(r.health)) && (!topic || r.topic === topic) && (!text || `${r.channel} ${r.target} ${r.description}`.toLowerCase().includes(text)))
    .sort((a, b) => urgency(a) - urgency(b) || b.dead - a.dead || (a.channel < b.channel ? -1 : 1));
  const page = Math.max(0, Math.min(asked, Math.ceil(list.length / perPage) - 1)); // the list may have become shorter
  const steady = useSteady(list.slice(page * perPage, (page + 1) * perPage), (r) => r.channel);
  const quiet = list.filter(isQuiet).length;
  if (!loaded.value) return html`<h1>Channels</h1><${Loading} rows="8" what="channels" />`;
  return html`<div class="title"><div><h1>Channels</h1><p>${things(all.length, 'named route', 'named routes')}, each to one external system.</p></div>${may('configure') && html`<div class="row"><button type="button" class="btn main" onClick=${() => refine({ new: '1' })}>New channel…</button></div>`}</div>
    <section class="card filters" aria-label="Filters"><div class="field"><label for="c-name">Name, target or description</label><input id="c-name" type="search" value=${q.get('name') ?? ''} onInput=${(e) => { setPage(0); refine({ name: e.target.value }); }} /></div>
      <div class="field"><label for="c-health">Health</label><select id="c-health" onChange=${(e) => { setPage(0); refine({ health: e.target.value }); }}><option value="">any</option>${health.includes(',') && html`<option value=${health} selected>not ok</option>`}${healthOrder.filter((h) => h !== 'held').map((h) => html`<option value=${h} selected=${h === health}>${healthWords[h]}</option>`)}</select></div>
      <div class="field"><label for="c-topic">Topic</label><select id="c-topic" onChange=${(e) => { setPage(0); refine({ topic: e.target.value }); }}><option value="">any</option>${topics.value.map((t) => html`<option value=${t.topic} selected=${t.topic === topic}>${t.topic}</option>`)}</select></div></section>
    <${Card} title=${things(list.length, 'channel')} right=${steady.fresh > 0 && html`<button type="button" class="btn plain" onClick=${steady.show}>${count(steady.fresh)} new, show</button>`}>
      ${list.length === 0 && html`<${Empty} title=${all.length ? 'No channel is like that.' : 'There is no channel yet.'} />`}
      ${list.length > 0 && html`<div ...${steady.hold}><${Table} label="Channels" heads=${['Channel', 'Sync', 'Health', { text: 'Not newest', class: 'num' }, { text: 'Oldest', class: 'num' }, { text: 'Dead letters', class: 'num' }, { text: 'Rate', class: 'num' }, 'Lately', 'Workers']}>
        ${steady.list.map(({ item: r, gone }) => html`<tr key=${r.channel} data-row tabindex="-1" class="${gone ? 'gone' : ''} ${isQuiet(r) ? 'insync' : ''}"><${Cell}><${ChannelLink} name=${r.channel} /><small>${visible(r.target || r.kind)}${r.topic && html`, topic ${r.topic}`}</small><//><${Cell} of="Sync"><${Sync} of=${syncOf(r)} /><//><${Cell} of="Health"><${Health} of=${r.health} />${r.why && html`<small><code class="code">${r.why.code}</code></small>`}<//>
          <${Cell} of="Not newest" class="num">${count(r.not_newest)}<//><${Cell} of="Oldest" class="num">${r.oldest && !r.oldest.startsWith('0001') ? html`<${Time} at=${r.oldest} />` : html`<span class="quiet">none</span>`}<//><${Cell} of="Dead letters" class="num">${count(r.dead)}<//><${Cell} of="Rate" class="num">${rate(r.settled_rate)}<//><${Cell} of="Lately"><${Spark} points=${history.get(r.channel)} label=${`settled a second: now ${rate(r.settled_rate)}`} /><//><${Cell} of="Workers">${r.workers?.length ? r.workers.join(', ') : html`<span class="quiet">nobody</span>`}<//></tr>`)}<//></div>`}
      ${quiet > 0 && html`<p class="body folded second">${things(quiet, 'channel is', 'channels are')} in sync and folded here. <button type="button" class="btn plain" onClick=${(e) => e.target.closest('.card').classList.add('unfold')}>Show them</button></p>`}
      ${list.length > perPage && html`<div class="pager"><button type="button" class="btn" disabled=${page === 0} onClick=${() => setPage(page - 1)}>Back</button><span class="quiet small">${count(page * perPage + 1)} to ${count(Math.min(list.length, (page + 1) * perPage))} of ${count(list.length)}</span><button type="button" class="btn" disabled=${(page + 1) * perPage >= list.length} onClick=${() => setPage(page + 1)}>Next</button></div>`}<//>
    ${q.get('new') && may('configure') && html`<${New} onClose=${() => refine({ new: '' })} />`}`;
}

function New({ onClose }) {
  const [name, setName] = useState('');
  const good = /^[a-z0-9][a-z0-9_-]{0,62}$/.test(name);
  const start = () => { if (good && !rows.value.has(name)) go(['channels', name, 'config'], { new: '1' }); };
  return html`<${Dialog} title="New channel" onClose=${onClose} actions=${html`<button type="button" class="btn main" disabled=${!good || rows.value.has(name)} onClick=${start}>Go on</button>`}>
    <div class="field"><label for="new-name">Name</label><input id="new-name" class="mono" type="text" data-first maxlength="63" autocomplete="off" value=${name} onInput=${(e) => setName(e.target.value)} onKeyDown=${(e) => { if (e.key === 'Enter') start(); }} aria-describedby="new-hint" /><p class="hint" id="new-hint">${rows.value.has(name) ? 'There is one of this name.' : 'A lower-case letter or digit, then up to 62 of those, _ and -. It cannot be changed later.'}</p></div><//>`;
}
