// Keys: a key that is there at once, else those that begin so; filters are in the address, bulk acts run in the server.
import { html, useState, useEffect, useRef } from '../../vendor/ui.js';
import { get, part } from '../api.js';
import { place, refine, link } from '../router.js';
import { channelNames, may } from '../state.js';
import { Card, Key, ChannelLink, Sync, Health, Time, Why, Failure, Loading, Empty, Table, Cell, Act, Command, useAsk } from '../parts.js';
import { Plan, Jobs, commandOf } from '../jobs.js';
import { count, things, visible } from '../format.js';
import { syncWords, healthWords } from '../words.js';
import { whyCodes } from '../whycodes.js';

const ages = [['', 'any age'], ['1m', '1 minute'], ['10m', '10 minutes'], ['1h', '1 hour'], ['6h', '6 hours'], ['24h', '1 day'], ['168h', '7 days']];
const used = ['in_sync', 'filtered', 'waiting', 'behind', 'ahead', 'unknown'];
const usedHealth = ['ok', 'retrying', 'parked', 'dead', 'down', 'paused', 'blocked'];
const perPage = 100;
/** mostWindows is how many windows without any key follow each other by themselves. */
const mostWindows = 50;
/** at is a page that begins somewhere; windows counts the empty ones before it, and looked their records. */
const at = (cursor = '', before = []) => ({ cursor, before, windows: 0, looked: 0 });

const filtersOf = (q) => ({ prefix: q.get('prefix') ?? '', channel: q.get('channel') ?? '', sync: q.get('sync') ?? '', health: q.get('health') ?? '', why: q.get('why') ?? '', older_than: q.get('older_than') ?? '' });

export function Keys() {
  const f = filtersOf(place.value.query);
  const [page, setPage] = useState(at());
  const deps = Object.values(f).join('\n');
  const [chosen, setChosen] = useState(new Map()); // by their ids, of every page
  useEffect(() => { setPage(at()); setChosen(new Map()); }, [deps]);
  const { channel, ...rest } = f;
  const filtered = rest.prefix || rest.sync || rest.health || rest.why || rest.older_than;
  const found = useAsk((s) => get(channel ? `channels/${part(channel)}/entities` : 'entities', { ...rest, limit: perPage, cursor: page.cursor }, s), [deps, page.cursor]);
  // A window is small, so that it comes soon. One that has no key leads to the next, if somebody looks for something.
  const empty = found.data?.next && found.data.entities.length === 0 && !found.error;
  const goesOn = empty && (filtered || page.windows > 0) && page.windows < mostWindows;
  const further = (windows) => setPage({ ...page, cursor: found.data.next, windows, looked: page.looked + found.data.looked });
  useEffect(() => { if (goesOn) further(page.windows + 1); }, [found.data]);
  const exact = useAsk(async (s) => { try { return f.prefix ? await get(`entities/${part(f.prefix)}`, {}, s) : null; } catch { return null; } }, [f.prefix]);
  return html`<div class="title"><div><h1>Keys</h1><p>Find a key, or every key in a state, and act on all of them at once.</p></div></div>
    <${Jobs} channel=${channel} />
    <${Filters} f=${f} />
    ${exact.data && html`<p class="exact">The key itself: <${Key} of=${exact.data.key} />, in ${things(exact.data.channels.filter((c) => c.state !== 'absent').length, 'channel')}.</p>`}
    <${Failure} error=${found.error} retry=${found.again} what="The keys could not be listed" />
    ${!found.data ? (!found.error && html`<${Loading} rows="8" what="keys" />`) : html`<${Found} key=${deps} f=${f} filtered=${filtered} found=${found} page=${page} setPage=${setPage} goesOn=${goesOn} further=${further} chosen=${chosen} setChosen=${setChosen} />`}`;
}

function Filters({ f }) {
  const [text, setText] = useState(f.prefix);
  const sent = useRef(f.prefix);
  useEffect(() => { if (f.prefix !== sent.current) { sent.current = f.prefix; setText(f.prefix); } }, [f.prefix]); // else it is what was typed
  useEffect(() => { if (text === f.prefix) return undefined; const t = setTimeout(() => { sent.current = text; refine({ prefix: text }); }, 300); return () => clearTimeout(t); }, [text]);
  const select = (name, label, options) => html`<div class="field"><label for=${'f-' + name}>${label}</label><select id=${'f-' + name} onChange=${(e) => refine({ [name]: e.target.value })}>${options.map(([v, t]) => html`<option value=${v} selected=${f[name] === v}>${t}</option>`)}${f[name] && !options.some(([v]) => v === f[name]) && html`<option value=${f[name]} selected>${visible(f[name].replaceAll(',', ', '))}</option>`}</select></div>`;
  return html`<section class="card filters" aria-label="Filters"><div class="field all"><label for="f-prefix">Key, or how it begins</label><input id="f-prefix" class="mono big" type="search" autocomplete="off" spellcheck=${false} maxlength="1024" value=${text} onInput=${(e) => setText(e.target.value)} /></div>
    ${select('channel', 'Channel', [['', 'all channels'], ...channelNames.value.map((c) => [c, c])])}
    ${select('sync', 'Sync', [['', 'any'], ...used.map((s) => [s, syncWords[s]])])}
    ${select('health', 'Health', [['', 'any'], ...usedHealth.map((s) => [s, healthWords[s]])])}
    ${select('why', 'Why', [['', 'any reason'], ...whyCodes.map((c) => [c, c])])}
    ${select('older_than', 'Older than', ages)}
    <p class="hint all">${Object.values(f).some(Boolean) ? html`These filters are in the address: the link shows the same to others. <a href=${link(['keys'])}>Clear them</a>` : 'Without a filter, the keys that have a reason are listed.'}</p></section>`;
}

/** mostKeys is how many keys a job takes by their names. */
const mostKeys = 1000;

function Found({ f, filtered, found, page, setPage, goesOn, further, chosen, setChosen }) {
  const [all, setAll] = useState(false);
  const [plan, setPlan] = useState(null);
  const list = found.data.entities;
  const id = (e) => e.channel + '\n' + e.key;
  const mark = (some, on) => { const m = new Map(all ? list.map((e) => [id(e), e]) : chosen); for (const e of some) { if (on) m.set(id(e), e); else m.delete(id(e)); } setAll(false); setChosen(m); };
  const marked = (e) => all || chosen.has(id(e));
  const next = found.data.next;
  const whole = !next && page.before.length === 0;
  const n = list.length;
  const looked = page.looked + (goesOn && found.busy ? 0 : found.data.looked); // until the next window is there, the last is among those before
  const title = whole ? things(n, filtered || f.channel ? 'key matches' : 'key has a reason', filtered || f.channel ? 'keys match' : 'keys have a reason') : `Keys in the ${count(looked)} records looked at`;
  const channels = new Set([...chosen.values()].map((e) => e.channel));
  // Rows of the filter before may be shown still, and be ticked: a job is for the channel of its keys.
  const channel = all || !chosen.size ? f.channel : channels.size === 1 ? [...channels][0] : '';
  const stands = f.sync || f.health || f.why || f.older_than;
  const entities = all ? { channel, prefix: f.prefix, sync: listOf(f.sync), health: listOf(f.health), why: listOf(f.why), older_than: f.older_than } : { channel, keys: [...chosen.values()].map((e) => e.key) };
  // A job selects letters by one key or by how keys begin: what it would not tell apart is not offered.
  const letters = all ? !stands && { channel, prefix: f.prefix } : chosen.size === 1 && { channel, key: [...chosen.values()][0].key };
  const everyOne = stands ? 'All that match' : `Every key${f.prefix ? ' that begins so' : ''}${f.channel ? ` of ${f.channel}` : ''}`;
  const bad = !channel ? 'Choose one channel first: a job is for one target.' : !all && chosen.size > mostKeys ? `A job takes ${count(mostKeys)} keys by their names at most: choose fewer, or all.` : '';
  return html`<${Card} title=${title} hint=${found.data.of ? `window: ${count(found.data.looked)} of ${count(found.data.of)} records` : ''} right=${(found.busy || goesOn) && html`<span class="quiet small" role="status">looking…</span>`}>
    ${n === 0 && (next ? html`<${Empty} title="None so far."><p>${things(looked, 'record was', 'records were')} looked at. <button type="button" class="btn plain" disabled=${!goesOn && found.busy} onClick=${() => (goesOn ? setPage({ ...page, windows: mostWindows }) : further(1))}>${goesOn ? 'Stop' : 'Look further'}</button></p><//>`
      : html`<${Empty} title="No key is like that."><p>${filtered ? 'Take a filter away to see more.' : 'Every key is where it should be, or on its way.'}</p><//>`)}
    ${n > 0 && html`<${Table} label="Keys" heads=${[{ text: html`<input type="checkbox" aria-label="Select all on this page" data-page checked=${list.every(marked)} onChange=${() => mark(list, !list.every(marked))} />`, class: 'tickcell' }, 'Key', 'Channel', { text: 'Wanted', class: 'num' }, { text: 'At target', class: 'num' }, 'Sync', 'Health', 'Why', { text: 'Since', class: 'num' }]}>
      ${list.map((e) => html`<tr key=${id(e)} data-row tabindex="-1"><td class="tickcell"><input type="checkbox" aria-label=${'Select ' + e.key} checked=${marked(e)} onChange=${() => mark([e], !marked(e))} /></td>
        <${Cell}><${Key} of=${e.key} channel=${e.channel} /><//><${Cell} of="Channel"><${ChannelLink} name=${e.channel} /><//><${Cell} of="Wanted" class="num mono">${e.newest?.version ?? 'none'}<//><${Cell} of="At target" class="num mono">${e.target?.version ?? 'nothing'}<//>
        <${Cell} of="Sync"><${Sync} of=${e.sync} /><//><${Cell} of="Health"><${Health} of=${e.health} /><//><${Cell} of="Why"><${Why} why=${e.why} /><//><${Cell} of="Since" class="num"><${Time} at=${e.why?.since ?? e.newest?.at} /><//></tr>`)}<//>`}
    ${(next || page.before.length > 0) && html`<div class="pager"><button type="button" class="btn" disabled=${page.before.length === 0} onClick=${() => setPage(at(page.before.at(-1), page.before.slice(0, -1)))}>Back</button><button type="button" class="btn" disabled=${!next} onClick=${() => setPage(at(next, [...page.before, page.cursor]))}>Next ${next && n < perPage ? 'part' : 'page'}</button></div>`}
    ${may('operate') && (chosen.size > 0 || all) && html`<div class="bulk" role="region" aria-label="Selected keys"><div class="row">
        <label class="tick"><input type="radio" name="which" data-all checked=${all} onChange=${() => setAll(true)} /><b>${everyOne}</b></label><label class="tick"><input type="radio" name="which" checked=${!all} disabled=${chosen.size === 0} onChange=${() => setAll(false)} />The ${count(chosen.size)} selected</label>
        <div class="push row"><button type="button" class="btn plain" onClick=${() => { setChosen(new Map()); setAll(false); }}>Select none</button><${Act} tone="main" disabled=${!!bad} onClick=${() => setPlan({ action: 'resync', entities })}>Resync…<//><${Act} disabled=${!channel || !letters} onClick=${() => setPlan({ action: 'replay', letters })}>Replay dead letters…<//></div></div>
        ${bad && html`<p class="small second">${bad}</p>`}${channel && !letters && html`<p class="small second">Dead letters are replayed by one key, by how keys begin, or <a href=${link(['dead'], { channel, prefix: f.prefix })}>by reason</a>.</p>`}
        ${channel && html`<${Command} text=${commandOf('resync', { entities }, '')} />`}</div>`}
    ${may('operate') && n > 0 && chosen.size === 0 && !all && html`<button type="button" class="hide" data-all tabindex="-1" onClick=${() => setAll(true)}>${everyOne}</button>`}
    ${plan && html`<${Plan} title=${`${plan.letters ? 'Replay dead letters' : 'Resync'}: ${all ? everyOne : things(chosen.size, 'key')}`} of=${plan} onClose=${() => setPlan(null)} onStart=${() => { setChosen(new Map()); setAll(false); }} />`}<//>`;
}

const listOf = (text) => (text ? text.split(',') : []);
