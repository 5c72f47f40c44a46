// A key: who holds which version, why not the newest, what has happened, and what one can do.
import { html, useState, useEffect, useRef } from '../../vendor/ui.js';
import { call, get, part } from '../api.js';
import { place, link } from '../router.js';
import { may, rows, session } from '../state.js';
import { Card, ChannelLink, Sync, Health, Time, Why, Failure, Loading, Empty, Table, Cell, Note, Copy, Command, Act, useAsk } from '../parts.js';
import { Done, TypeToConfirm, steps } from '../acts.js';
import { Plan, Jobs } from '../jobs.js';
import { command } from '../commands.js';
import { visible, things, count } from '../format.js';
import { Diff } from '../diff.js';
import { Timeline } from '../timeline.js';

/** loadGap is how far apart two loads are at least, in ms. */
const loadGap = 3000;

export function KeyPage() {
  const key = place.value.path.slice(1).join('/');
  const chosen = place.value.query.get('channel') ?? '';
  const found = useAsk((s) => get(`entities/${part(key)}`, {}, s), [key, session.value?.id]);
  // The log has no index by key: what has happened comes when it is found, and is asked for again when something has.
  const told = useAsk((s) => (found.data ? get(`entities/${part(key)}`, { timeline: 50 }, s) : Promise.resolve(null)), [JSON.stringify(found.data?.channels)]);
  const known = (found.data?.channels.filter((c) => c.state !== 'absent') ?? []).map((c) => ({ ...c, timeline: told.data?.channels.find((t) => t.channel === c.channel)?.timeline }));
  // What happened to it meanwhile shows by itself: the row of a channel that knows it has changed.
  const moved = known.map((c) => rows.value.get(c.channel)).map((r) => (r ? `${r.undelivered}/${r.not_newest}/${r.dead}/${r.health}` : '')).join();
  const loads = useRef({ last: Date.now(), due: null });
  loads.current.ask = found.again;
  useEffect(() => {
    const l = loads.current;
    if (found.data) l.due ??= setTimeout(() => { l.due = null; l.last = Date.now(); l.ask(); }, Math.max(0, l.last + loadGap - Date.now()));
  }, [moved]);
  useEffect(() => () => clearTimeout(loads.current.due), []);
  const shown = useRef('');
  const title = html`<div class="title"><div><p class="crumb"><a href=${link(['keys'])}>Keys</a></p><h1 class="mono"><bdi>${visible(key)}</bdi></h1></div><div class="row"><${Copy} text=${key} what="Copy the key" /><${Copy} text=${location.href} what="Copy a link" /></div></div>`;
  if (found.error?.status === 404) return html`${title}<${Empty} title="Nothing was published for this key."><p>No channel and no topic that you may see knows it. Keys are exact: case, spaces and accents count. <a href=${link(['keys'], { prefix: key })}>List the keys that begin so</a></p><//>`;
  if (!found.data) return html`${title}${found.error ? html`<${Failure} error=${found.error} retry=${found.again} />` : html`<${Loading} rows="6" what="the key" />`}`;
  // It stays the same while others get worse: somebody may be about to act on it.
  const one = known.find((c) => c.channel === (chosen || shown.current)) ?? [...known].sort((a, b) => weight(b) - weight(a))[0];
  shown.current = one?.channel;
  return html`${title}<${Failure} error=${found.error} retry=${found.again} /><${Summary} known=${known} />
    <${Matrix} known=${known} topics=${found.data.topics ?? []} one=${one} keyName=${key} />
    <${Jobs} channel=${one?.channel} last=${1} />
    ${one && may('payload') && html`<${Contents} key=${one.channel} of=${one} />`}
    <div class="two wide-left">${told.data ? html`<${Timeline} known=${known} keyName=${key} />` : html`<${Card} title="Timeline"><${Failure} error=${told.error} retry=${told.again} />${!told.error && html`<${Loading} rows="4" what="what has happened" />`}<//>`}${one && html`<${Actions} key=${one.channel} of=${one} again=${() => { found.again(); told.again(); }} known=${known} />`}</div>`;
}

const weight = (c) => ({ blocked: 7, dead: 6, down: 5, parked: 4, retrying: 3, paused: 2 }[c.health] ?? 0) + (c.sync === 'in_sync' ? 0 : 0.5);

/** Summary answers the first question in one sentence. */
function Summary({ known }) {
  if (!known.length) return html`<${Note} tone="wait" title="No channel takes this key." />`;
  const there = known.filter((c) => c.sync === 'in_sync' || c.sync === 'filtered').length;
  const newest = known.map((c) => c.newest?.version).filter(Boolean);
  const same = new Set(newest).size === 1 ? `, ${newest[0]}` : '';
  const person = known.filter((c) => ['blocked', 'dead', 'paused'].includes(c.health) || c.sync === 'ahead');
  const itself = known.filter((c) => !person.includes(c) && c.sync !== 'in_sync' && c.sync !== 'filtered');
  const out = known.some((c) => c.sync === 'filtered'); // it holds an older one, or nothing
  if (there === known.length) return html`<${Note} tone="good" title=${known.length === 1 ? `${known[0].channel} ${out ? 'filters out' : 'holds'} the newest version${same}.` : `All ${count(known.length)} systems hold the newest version${same}${out ? ', or filter it out' : ''}.`} />`;
  const say = (list, one, many) => (list.length ? `${list.map((c) => c.channel).slice(0, 5).join(', ')}${list.length > 5 ? ` and ${count(list.length - 5)} more` : ''} ${list.length === 1 ? one : many}` : '');
  return html`<${Note} tone="wait" title=${`${count(there)} of ${things(known.length, 'system')} ${there === 1 ? 'holds' : 'hold'} the newest version${same}${out ? `, or ${there === 1 ? 'filters' : 'filter'} it out` : ''}.`}><p>${[say(person, 'needs a person', 'need a person'), say(itself, 'goes on by itself', 'go on by themselves')].filter(Boolean).join('; ')}.</p><//>`;
}

/** Version sets back what wanted and held have in common, so that the difference stands out. */
export function Version({ of, other }) {
  if (!of) return html`<span class="quiet">nothing</span>`;
  let n = 0;
  if (other && other !== of && of.length > 8) while (n < of.length && of[n] === other[n]) n++;
  return html`<span class="mono">${n > 4 && html`<span class="common">${of.slice(0, n)}</span>`}${n > 4 ? of.slice(n) : of}</span>`;
}

/** Track draws the last versions as stations, filled up to what the target holds. */
function Track({ of: c }) {
  const seen = new Map();
  for (const e of c.timeline?.entries ?? []) if (e.version && !seen.has(String(e.version))) seen.set(String(e.version), e.outcome);
  const all = new Set([...seen.keys(), c.newest?.version, c.target?.version].filter(Boolean));
  const list = [...all].sort(byVersion).slice(-5);
  const at = list.indexOf(c.target?.version);
  if (list.length < 2) return html`<${Version} of=${c.target?.version} other=${c.newest?.version} />`;
  const gap = 34;
  const label = `The target holds ${c.target?.version ?? 'nothing'}; the versions are ${list.join(', ')}`;
  return html`<svg class="track ${c.sync}" viewBox=${`0 0 ${(list.length - 1) * gap + 44} 32`} role="img" aria-label=${label}><path class="rest" d=${`M12 8H${12 + (list.length - 1) * gap}`} />${at > 0 && html`<path class="held" d=${`M12 8H${12 + at * gap}`} />`}
    ${list.map((v, i) => html`${seen.get(v) === 'dead_lettered' || seen.get(v) === 'conflict' ? html`<path class="given" d=${`M${12 + i * gap} 2l6 6-6 6-6-6z`} />` : html`<circle class=${i <= at ? 'held' : 'rest'} cx=${12 + i * gap} cy="8" r=${i === at ? 5 : 3.5} />`}<text class=${i === at ? 'at' : ''} x=${12 + i * gap} y="28">${v.length > 5 ? '…' + v.slice(-4) : v}</text>`)}</svg>`;
}

/** byVersion orders versions: numbers by their value, times by theirs. */
function byVersion(a, b) {
  if (/^\d+$/.test(a) && /^\d+$/.test(b)) { const x = BigInt(a); const y = BigInt(b); return x < y ? -1 : x > y ? 1 : 0; }
  return a < b ? -1 : a > b ? 1 : 0;
}

function Matrix({ known, topics, one, keyName }) {
  const newest = topics[0] ?? known.find((c) => c.newest?.version);
  const copy = newest?.newest ?? newest ?? {};
  return html`<${Card} title="Who holds which version"><dl class="facts"><div><dt>Wanted</dt><dd class="mono">${copy.version ?? 'none'}</dd></div><div><dt>Published</dt><dd><${Time} at=${copy.at} ago=${true} /></dd></div><div><dt>Operation</dt><dd>${copy.op || 'unknown'}</dd></div><div><dt>Digest</dt><dd class="mono">${(copy.digest ?? '').slice(0, 16) || 'none'}</dd></div>${topics.length > 0 && html`<div><dt>Topic</dt><dd>${topics.map((t) => t.topic).join(', ')}</dd></div>`}</dl>
    <${Table} label="Channels of the key" heads=${['Channel', { text: 'Wanted', class: 'num' }, 'At target', 'Sync', 'Health', 'Why', { text: 'Since', class: 'num' }, 'Next attempt']}>
    ${known.map((c) => { const row = rows.value.get(c.channel); return html`<tr key=${c.channel} data-row tabindex="-1" aria-current=${c === one ? 'true' : undefined}><${Cell}><${ChannelLink} name=${c.channel} /><small>${row ? visible(row.target || row.kind) : ''}</small>${c !== one && html`<a class="small" href=${link(['key', keyName], { channel: c.channel })}>what it holds</a>`}<//>
      <${Cell} of="Wanted" class="num"><${Version} of=${c.newest?.version} other=${c.target?.version} /><//><${Cell} of="At target"><${Track} of=${c} />${c.newest?.version?.length > 5 && html`<small class="mono">${c.target?.version ?? 'nothing'}</small>`}<//><${Cell} of="Sync"><${Sync} of=${c.sync} /><//><${Cell} of="Health"><${Health} of=${c.health} /><//><${Cell} of="Why"><${Why} why=${c.why} />${c.error && c.why && !c.why.message?.includes(c.error.message) && html`<small><bdi>${visible(c.error.message)}</bdi></small>`}<//>
      <${Cell} of="Since" class="num"><${Time} at=${c.why?.since ?? c.target?.at} /><//><${Cell} of="Next attempt">${c.next_attempt ? html`<${Time} at=${c.next_attempt} ahead=${true} />` : c.health === 'dead' ? 'by replay only' : c.health === 'ok' ? html`<span class="quiet">none needed</span>` : 'not set'}<//></tr>`; })}<//><//>`;
}

/** Contents are shown on demand: each look is in the audit log. */
function Contents({ of: c }) {
  const [state, set] = useState({});
  const at = `channels/${part(c.channel)}/entities/${part(c.key)}`;
  const ask = (method, path, kind) => async () => { set({ busy: kind }); try { set({ [kind]: await call(method, path, { exact: true }) }); } catch (error) { set({ error }); } };
  return html`<${Card} title=${`${c.channel}: what we would send now, what the target holds`} right=${html`<${Act} onClick=${ask('GET', at + '/payload', 'payload')} disabled=${!!state.busy}>Show the payload<//><${Act} tone="main" onClick=${ask('POST', at + '/read-back', 'back')} disabled=${!!state.busy}>Read back<//>`}>
    <div class="body">${!state.payload && !state.back && !state.error && html`<p class="second">${state.busy ? html`<span role="status">Asking…</span>` : 'Reading back asks the target what it holds, and sends nothing. Each look at contents is in the audit log.'}</p>`}
    <${Failure} error=${state.error} what="It could not be read" />
    ${state.payload && html`<${Payload} of=${state.payload} />`}</div>${state.back && html`<${Diff} of=${state.back} />`}<//>`;
}

export function Payload({ of: p }) {
  const text = p.payload !== undefined && p.payload !== null ? JSON.stringify(p.payload, null, 2) : p.payload_base64 ?? '';
  return html`<p class="second small">Version <span class="mono">${p.version}</span>, ${p.op || 'upsert'}${p.content_type ? `, ${p.content_type}` : ''}${p.payload_base64 ? ', base64' : ''}${p.clipped ? `, cut: ${things(p.bytes, 'byte')} in all` : ''}. ${p.hidden?.length > 0 && html`Hidden by the channel's setting <code>redact</code>: ${p.hidden.map((h) => html`<code>${h}</code> `)}`}</p><pre class="payload" tabindex="0" aria-label="Payload"><bdi>${visible(text)}</bdi></pre>`;
}

function Actions({ of: c, again }) {
  const [open, setOpen] = useState(null);
  const at = `channels/${part(c.channel)}/entities/${part(c.key)}`;
  const act = (name, does, button, cmd) => html`<div class="act"><div><h3>${name}</h3><p class="second small">${does}</p></div><div class="do">${button}</div><${Command} text=${cmd} /></div>`;
  const some = may('operate') || may('payload') || may('admin');
  return html`<${Card} title="Actions" hint=${c.channel}>${!some && html`<div class="body"><p class="second">Your rights are to read. Each action has its command, too: <code>extsync get --help</code>.</p></div>`}
    ${may('operate') && c.health === 'dead' && act('Replay', `Sends version ${c.newest?.version} again. It is the newest, so nothing can go back.`, html`<${Act} tone="main" onClick=${() => setOpen('replay')}>Replay…<//>`, command(['dead', 'replay'], { channel: c.channel, key: c.key, yes: true }))}
    ${may('operate') && (c.health === 'down' || c.health === 'retrying' || c.health === 'blocked' || c.health === 'parked') && act('Try now', 'Tries the target of the channel at once.', html`<${Done} name="Try now" run=${() => steps.probe.run(c.channel).finally(again)} said=${steps.probe.said} />`, steps.probe.command(c.channel))}
    ${may('operate') && act('Resync', 'Delivers the version that the ledger holds again, as the channel is configured now.', html`<${Act} onClick=${() => setOpen('resync')}>Resync…<//>`, command(['resync', c.channel], { key: c.key }))}
    ${may('payload') && act('Read back', 'Asks the target what it holds. Sends nothing.', html`<span class="quiet small">above</span>`, command(['get', c.channel, c.key], { 'read-back': true }))}
    ${may('operate') && ['retrying', 'parked', 'down', 'blocked'].includes(c.health) && act('Give up', 'Makes a dead letter of the update that is being retried. A newer version is delivered all the same.', html`<${Act} onClick=${() => setOpen('giveup')}>Give up…<//>`, command(['key', 'give-up', c.channel, c.key], { yes: true }))}
    ${may('admin') && act('Reset', 'Versions start anew in this channel: an older one can then overwrite. You will be asked to type the key.', html`<${Act} tone="danger" onClick=${() => setOpen('reset')}>Reset…<//>`, command(['key', 'reset', c.channel, c.key], { yes: true }))}
    ${open === 'replay' && html`<${Plan} title=${`Replay ${c.key} in ${c.channel}?`} of=${{ action: 'replay', letters: { channel: c.channel, key: c.key } }} onClose=${() => setOpen(null)} onStart=${again} />`}
    ${open === 'resync' && html`<${Plan} title=${`Resync ${c.key} in ${c.channel}?`} of=${{ action: 'resync', entities: { channel: c.channel, keys: [c.key] } }} onClose=${() => setOpen(null)} onStart=${again} />`}
    ${open === 'reset' && html`<${TypeToConfirm} title="Reset the key?" text="The ledger forgets which version the target holds. The next update is taken whatever its version is, an older one too. This cannot be undone." name=${c.key} button="Reset the key" command=${command(['key', 'reset', c.channel, c.key], { yes: true })} run=${() => call('POST', at + '/reset', { params: { confirm: c.key } })} onClose=${(done) => { setOpen(null); if (done) again(); }} />`}
    ${open === 'giveup' && html`<${TypeToConfirm} title="Give the update up?" text="It becomes a dead letter, which can be replayed." name=${c.key} button="Give up" command=${command(['key', 'give-up', c.channel, c.key], { yes: true })} run=${() => call('POST', at + '/give-up')} onClose=${(done) => { setOpen(null); if (done) again(); }} />`}<//>`;
}
