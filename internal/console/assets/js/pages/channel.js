// A channel: how it stands, and what one does with it, in tabs that the address names.
import { html, useState } from '../../vendor/ui.js';
import { call, get, part } from '../api.js';
import { place, link, go } from '../router.js';
import { rows, may, loaded, history, jobs } from '../state.js';
import { Card, Health, Sync, Time, Failure, Undone, Loading, Empty, Table, Cell, Spark, Note, Command, Dialog, Act, useAsk, useEvery } from '../parts.js';
import { Step, TypeToConfirm } from '../acts.js';
import { Plan, Jobs } from '../jobs.js';
import { command } from '../commands.js';
import { count, rate, things, bytes, visible, share } from '../format.js';
import { syncOf } from '../words.js';
import { Config } from '../config/editor.js';

const tabs = [['', 'Status', 'read'], ['config', 'Configuration', 'configure'], ['resync', 'Resync', 'read'], ['audit', 'Audit', 'read']];

export function Channel() {
  const [, name, tab = ''] = place.value.path;
  const row = rows.value.get(name);
  const isNew = place.value.query.get('new') === '1';
  // It may have been made just now, or be one of very many: its status says whether it is there.
  const unknown = loaded.value && !row && !isNew;
  const asked = useAsk((s) => (unknown ? get(`channels/${part(name)}/status`, {}, s) : Promise.resolve(null)), [unknown]);
  if (!loaded.value) return html`<h1><bdi>${visible(name)}</bdi></h1><${Loading} what="the channel" />`;
  if (!row && !isNew && [403, 404, 410].includes(asked.error?.status)) return html`<h1><bdi>${visible(name)}</bdi></h1><${Empty} title="There is no such channel, or you may not see it."><p><a href=${link(['channels'])}>All channels</a></p><//>`;
  return html`<div class="title"><div><p class="crumb"><a href=${link(['channels'])}>Channels</a></p><h1><bdi>${visible(name)}</bdi></h1>${row && html`<p>${[row.description, row.topic && `topic ${row.topic}`, `to ${row.target || row.kind}`, row.keys !== null && row.keys !== undefined ? things(row.keys, 'key') : 'keys not counted yet'].filter(Boolean).map(visible).join(', ')}.</p>`}</div>
      ${row && html`<${Buttons} row=${row} />`}</div>
    ${row && html`<p class="row"><${Sync} of=${syncOf(row)} n=${row.not_newest || undefined} /><${Health} of=${row.health} />${row.dead > 0 && html`<a href=${link(['dead'], { channel: name })}>${things(row.dead, 'dead letter')}</a>`}${row.why && html`<span>${visible(row.why.text)}. ${row.why.advice && `Next: ${visible(row.why.advice)}.`} <code class="code">${row.why.code}</code></span>`}</p>`}
    <nav class="tabs" aria-label="Parts of the channel"><ul>${tabs.filter(([, , scope]) => may(scope)).map(([t, text]) => html`<li><a href=${link(t ? ['channels', name, t] : ['channels', name])} aria-current=${t === tab ? 'page' : undefined}>${text}</a></li>`)}
      <li><a href=${link(['keys'], { channel: name })}>Keys</a></li><li><a href=${link(['dead'], { channel: name })}>Dead letters${row?.dead ? ` (${count(row.dead)})` : ''}</a></li></ul></nav>
    <${Jobs} channel=${name} />
    ${tab === 'config' ? (may('configure') ? html`<${Config} key=${name} name=${name} isNew=${isNew && !row} />` : html`<${Note} tone="wait" title="You may not see configurations."><p>It needs the right <code>configure</code>.</p><//>`)
      : tab === 'resync' ? html`<${Resync} name=${name} />` : tab === 'audit' ? html`<${Audit} name=${name} row=${row} />` : unknown && !asked.data ? (asked.error ? html`<${Failure} error=${asked.error} retry=${asked.again} />` : html`<${Loading} what="the channel" />`) : html`<${Status} name=${name} row=${row} />`}`;
}

function Buttons({ row }) {
  const [open, setOpen] = useState('');
  const paused = row.state === 'paused';
  return html`<div class="row">${may('configure') && html`<button type="button" class="btn" onClick=${() => setOpen('clone')}>Clone…</button>`}
    ${may('operate') && html`<${Act} onClick=${() => setOpen(paused ? 'resume' : 'pause')}>${paused ? 'Resume…' : 'Pause…'}<//>`}
    ${may('configure') && html`<${Act} tone="danger" onClick=${() => setOpen('delete')}>Delete…<//>`}
    ${(open === 'pause' || open === 'resume') && html`<${PauseDialog} row=${row} step=${open} onClose=${() => setOpen('')} />`}
    ${open === 'clone' && html`<${CloneDialog} name=${row.channel} onClose=${() => setOpen('')} />`}
    ${open === 'delete' && html`<${TypeToConfirm} title="Delete the channel?" text=${`${things(row.undelivered, 'update is', 'updates are')} undelivered, and will not be delivered. It can be restored for 7 days; the target keeps what it has.`} name=${row.channel} button="Delete the channel" command=${command(['channels', 'delete', row.channel], { yes: true })} run=${() => call('DELETE', `channels/${part(row.channel)}`, { params: { confirm: row.channel } })} onClose=${() => setOpen('')} />`}</div>`;
}

function PauseDialog({ row, step, onClose }) {
  const [error, setError] = useState(null);
  const pausing = step === 'pause';
  const run = () => call('PUT', `channels/${part(row.channel)}/${step}`).then(onClose, setError);
  return html`<${Dialog} title=${pausing ? `Pause ${row.channel}?` : `Resume ${row.channel}?`} onClose=${onClose} actions=${html`<${Act} tone="main" onClick=${run}>${pausing ? 'Pause the channel' : 'Resume the channel'}<//>`}>
    <p>${pausing ? 'Deliveries are held back until somebody resumes the channel. Updates are accepted and kept: of each key the newest.' : `Deliveries go on. ${things(row.undelivered, 'update waits', 'updates wait')}.`}</p><${Command} text=${command(['channels', step, row.channel])} /><${Undone} error=${error} /><//>`;
}

function CloneDialog({ name, onClose }) {
  const [to, setTo] = useState('');
  const good = /^[a-z0-9][a-z0-9_-]{0,62}$/.test(to) && !rows.value.has(to);
  return html`<${Dialog} title=${`Clone ${name}`} onClose=${onClose} actions=${html`<button type="button" class="btn main" disabled=${!good} onClick=${() => go(['channels', to, 'config'], { new: '1', from: name })}>Go on</button>`}>
    <p>The draft of the new channel begins as this one, paused. Nothing is made before you save it.</p><div class="field"><label for="clone-name">Name</label><input id="clone-name" class="mono" type="text" data-first maxlength="63" value=${to} onInput=${(e) => setTo(e.target.value)} /></div><${Command} text=${command(['channels', 'clone', name, to || 'NAME'])} /><//>`;
}

function Status({ name, row }) {
  const { data, error, again } = useAsk((s) => get(`channels/${part(name)}/status`, {}, s), [row?.state]);
  useEvery(5000, again);
  if (!data) return error ? html`<${Failure} error=${error} retry=${again} />` : html`<${Loading} what="the status" />`;
  const fig = (n, v, more) => html`<div><dt>${n}</dt><dd>${v}</dd><dd>${more}</dd></div>`;
  const keys = row ? row.copies : data.keys ?? 0;
  const newest = Math.max(0, keys - (row?.not_newest ?? 0)); // both are counted, one after the other
  return html`<${Failure} error=${error} retry=${again} /><section class="card" aria-label="Figures"><dl class="figures">${fig('At the newest version', share(newest, keys), `${count(newest)} of ${count(keys)}`)}${fig('Undelivered', (data.undelivered_at_most ? 'at most ' : '') + count(row?.undelivered ?? data.undelivered), 'updates without an outcome')}${fig('Rate', rate(row?.settled_rate), html`<${Spark} points=${history.get(name)} label="settled a second, lately" />`)}${fig('Stream', bytes(data.bytes), `of ${bytes(data.max_bytes)}`)}${fig('Circuit', data.circuit || 'not known', data.next_probe ? html`next probe <${Time} at=${data.next_probe} ahead=${true} />` : data.circuit === 'closed' ? 'closed: calls flow' : '')}</dl></section>
    ${data.reasons.length > 0 && html`<${Card} title="Why it does not move"><ul class="reasons">${data.reasons.map((r) => html`<li><span class="state"><${Health} of=${healthOf(r, data)} /></span><div class="what"><p>${visible(r.message)}</p><p class="second small">Next: ${visible(r.advice)} <code class="code">${r.code}</code></p></div><div class="fact">${r.since && html`<b><${Time} at=${r.since} /></b><span>since</span>`}</div><div class="fact"><b>${count(r.undelivered)}</b><span>updates</span></div></li>`)}</ul><//>`}
    <div class="two wide-left"><${Card} title="Partitions"><${Table} label="Partitions" heads=${['Partition', 'Worker', 'Circuit', { text: 'Undelivered', class: 'num' }, 'Why']}>${data.partitions.map((p) => html`<tr key=${p.partition}><${Cell}>${p.partition}<//><${Cell} of="Worker">${p.worker || html`<span class="quiet">nobody${p.last_worker ? `; last ${p.last_worker}` : ''}</span>`}<//><${Cell} of="Circuit">${p.circuit || 'not known'}<//><${Cell} of="Undelivered" class="num">${count(p.undelivered)}<//><${Cell} of="Why">${p.why ? html`${visible(p.why.message)} <code class="code">${p.why.code}</code>` : html`<span class="quiet">it moves, or has nothing to do</span>`}<//></tr>`)}<//><//>
      ${may('operate') && html`<${Card} title="Actions"><${Step} key=${row?.state} step=${row?.state === 'paused' ? 'resume' : 'pause'} channel=${name} /><${Step} step="probe" channel=${name} /><${Step} step="reload" channel=${name} /><//>`}</div>`;
}

const healthOf = (r, data) => ({ paused: 'paused', circuit_open: 'down', target_error: 'retrying', rate_limited: 'retrying', suspect: 'retrying', parked: 'parked' }[r.code] ?? data.health);

function Resync({ name }) {
  const found = useAsk((s) => get(`channels/${part(name)}/resync`, {}, s).catch((e) => { if (e.status === 404) return { none: true }; throw e; }), [jobs.value.filter((j) => j.channel === name).map((j) => j.id + j.state).join()]); // a job of it is one, too
  useEvery(5000, () => { if (found.data?.state === 'running') found.again(); });
  const [prefix, setPrefix] = useState('');
  const [keys, setKeys] = useState('');
  const [plan, setPlan] = useState(null);
  const list = keys.split('\n').map((k) => k.replace(/\r$/, '')).filter(Boolean);
  const r = found.data;
  return html`<${Card} title="Resync" hint="deliver what the ledger holds again, as the channel is configured now"><div class="body"><p class="second">After a change of the mapping, the filter or the target, a resync delivers current versions again. Nothing can go back: the ledger is asked before each call.</p>
      <div class="fields"><div class="field"><label for="r-prefix">Keys that begin with</label><input id="r-prefix" class="mono" type="text" maxlength="1024" disabled=${list.length > 0} value=${prefix} onInput=${(e) => setPrefix(e.target.value)} /><p class="hint">Empty: all keys.</p></div><div class="field"><label for="r-keys">Or these keys, one a line</label><textarea id="r-keys" class="mono" rows="4" value=${keys} onInput=${(e) => setKeys(e.target.value)}></textarea><p class="hint">At most 1,000.</p></div></div>
      ${may('operate') ? html`<p><${Act} tone="main" disabled=${list.length > 1000} onClick=${() => setPlan({ action: 'resync', entities: { channel: name, prefix: list.length ? '' : prefix, keys: list } })}>Plan a resync…<//></p>` : html`<p class="second">It needs the right <code>operate</code>.</p>`}</div><//>
    <${Card} title="The last one"><div class="body">${!found.data ? html`<${Loading} rows="2" what="the last resync" />` : r.none ? html`<p class="second">There was none.</p>` : html`<p><b>${r.state}</b>, begun <${Time} at=${r.started} ago=${true} />: ${count(r.looked)} of ${things(r.total, 'key')} looked at, ${count(r.delivered)} delivered, ${count(r.skipped)} skipped, ${count(r.failed)} failed.${r.channel_paused ? ' The channel is paused: it goes on when that is resumed.' : ''}</p>${r.failures?.length > 0 && html`<ul class="plainlist small">${r.failures.map((f) => html`<li><code>${visible(f.key)}</code>: ${visible(f.error ?? f.message ?? '')}</li>`)}</ul>`}`}<${Failure} error=${found.error} retry=${found.again} /></div><//>
    ${plan && html`<${Plan} title=${`Resync in ${name}?`} of=${plan} onClose=${() => setPlan(null)} onStart=${() => found.again()} />`}`;
}

function Audit({ name, row }) {
  return html`<${Card} title="Audit" hint="compare what the target holds with what was delivered"><div class="body"><p>An audit reads the target with the channel's own secrets, which this server does not have. It runs where you are:</p><${Command} text=${command(['audit', name])} /><p class="second">For a single key, <b>Read back</b> on its page asks the worker that has the secrets. ${row && html`<a href=${link(['keys'], { channel: name })}>Choose a key</a>`}</p></div><//>`;
}
