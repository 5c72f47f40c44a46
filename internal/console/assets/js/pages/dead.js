// Dead letters: why updates were given up, by reason; samples, a dry run, a job.
import { html, useState, useEffect } from '../../vendor/ui.js';
import { call, get, part } from '../api.js';
import { place, refine } from '../router.js';
import { channelNames, may, totals, jobs, session } from '../state.js';
import { Card, Key, Time, Failure, Loading, Empty, Table, Cell, Bars, Act, Command, Note, Typed, useAsk } from '../parts.js';
import { Plan, Jobs, commandOf } from '../jobs.js';
import { Payload } from './key.js';
import { Done } from '../acts.js';
import { count, things, visible } from '../format.js';

export function Dead() {
  const q = place.value.query;
  const names = channelNames.value;
  // Who is limited to channels counts in one at a time.
  const limited = session.value.channels !== null || session.value.topics !== null;
  const f = { channel: q.get('channel') ?? (limited && names.length === 1 ? names[0] : ''), outcome: q.get('outcome') ?? '', prefix: q.get('prefix') ?? '' };
  const choose = limited && !f.channel;
  const found = useAsk((s) => (choose ? Promise.resolve(null) : get('dead-letters/groups', f, s)), [f.channel, f.outcome, f.prefix, choose]);
  // What a job has done, or what is given up meanwhile, shows when somebody asks for it: nothing moves under the pointer.
  const stamp = `${totals.value?.dead}/${jobs.value.filter((j) => j.state === 'done' || j.state === 'stopped').length}`;
  const [asked, setAsked] = useState(stamp);
  useEffect(() => { if (found.data) setAsked(stamp); }, [found.data]);
  const groups = found.data?.groups ?? [];
  const letters = groups.reduce((n, g) => n + g.count, 0);
  return html`<div class="title"><div><h1>Dead letters</h1><p>${found.data ? `${things(letters, 'update was', 'updates were')} given up, for ${things(groups.length, 'reason')}. ` : ''}A newer version of a key resolves its letters by itself.</p></div>${groups.length > 0 && html`<div class="row"><${Export} filter=${f} /></div>`}</div>
    <${Jobs} />
    <section class="card filters" aria-label="Filters"><div class="field"><label for="d-channel">Channel</label><select id="d-channel" onChange=${(e) => refine({ channel: e.target.value })}>${limited && names.length === 1 ? '' : html`<option value="">all channels</option>`}${names.map((c) => html`<option value=${c} selected=${c === f.channel}>${c}</option>`)}${f.channel && !names.includes(f.channel) && html`<option value=${f.channel} selected>${visible(f.channel)}</option>`}</select></div>
      <div class="field"><label for="d-outcome">Outcome</label><select id="d-outcome" onChange=${(e) => refine({ outcome: e.target.value })}><option value="">any</option><option value="dead_lettered" selected=${f.outcome === 'dead_lettered'}>given up</option><option value="conflict" selected=${f.outcome === 'conflict'}>conflict</option></select></div>
      <div class="field"><label for="d-prefix">Keys that begin with</label><${Typed} id="d-prefix" class="mono" type="search" maxlength="1024" value=${f.prefix} onDone=${(prefix) => refine({ prefix })} /></div></section>
    <${Failure} error=${found.error} retry=${found.again} what="The dead letters could not be counted" />
    ${choose ? html`<${Note} tone="info" title="Choose a channel."><p>You may see some channels only: their letters are counted one channel at a time.</p><//>` : !found.data ? !found.error && html`<${Loading} rows="6" what="dead letters" />` : html`<${Card} title="By reason" hint="open letters, most first; the same message but for names and numbers is one reason" right=${stamp !== asked && html`<button type="button" class="btn plain" onClick=${found.again}>It has changed: look again</button>`}>
      ${groups.length === 0 && html`<${Empty} title="No letter is open."><p>Nothing was given up${f.channel || f.prefix || f.outcome ? ' that matches' : ''}.</p><//>`}
      ${found.data.more && html`<div class="body"><${Note} tone="wait" title=${`The first ${count(found.data.looked)} letters were looked at.`}><p>There are more; a filter narrows them.</p><//></div>`}
      ${groups.map((g) => html`<${Group} key=${g.channel + g.group} of=${g} filter=${f} open=${groups.length === 1} again=${found.again} />`)}<//>`}`;
}

function Group({ of: g, filter, open, again }) {
  const [plan, setPlan] = useState(null);
  const [seen, setSeen] = useState(open);
  const letters = { channel: g.channel, group: g.group, prefix: filter.prefix, outcome: filter.outcome };
  return html`<details class="group" open=${open} onToggle=${(e) => setSeen(e.currentTarget.open)}><summary data-row><span class="what"><b><bdi>${visible(g.message || 'no message')}</bdi></b><span class="second small"><span>${g.channel}</span> <code>${[g.code, g.class].filter(Boolean).join(', ')}</code></span></span>
      <span class="fact"><b>${count(g.count)}</b><span>${g.count === 1 ? 'letter' : 'letters'}</span></span><span class="fact"><b><${Time} at=${g.last} ago=${true} /></b><span>first <${Time} at=${g.first} ago=${true} /></span></span><${Bars} of=${g.histogram ?? []} label="how many came when" /></summary>
    ${seen && html`<div class="inside"><${Table} label="Samples" heads=${['Key', { text: 'Version', class: 'num' }, { text: 'Letter', class: 'num' }, { text: 'Attempts', class: 'num' }, { text: 'Given up', class: 'num' }, 'Answer of the target', '']}>${g.samples.map((s) => html`<${Letter} key=${s.sequence} of=${s} again=${again} />`)}<//>
      ${may('operate') ? html`<div class="row"><${Act} tone="main" onClick=${() => setPlan({ action: 'replay', letters })}>Replay ${things(g.count, 'letter')}…<//><${Export} filter=${letters} /><div class="push"><${Act} tone="danger" onClick=${() => setPlan({ action: 'discard', letters })}>Discard with a reason…<//></div></div>` : html`<div class="row"><${Export} filter=${letters} /></div>`}
      <${Command} text=${commandOf('replay', { letters }, '')} /></div>`}
    ${plan && html`<${Plan} title=${plan.action === 'replay' ? `Replay letters of ${g.channel}?` : `Discard letters of ${g.channel}?`} of=${plan} onClose=${() => setPlan(null)} onStart=${again} />`}</details>`;
}

/** came says what came of a replay. */
const came = (r) => (r.under_way ? 'On its way: look again in a while.' : r.outcome === 'superseded' ? `Superseded by version ${r.superseded_by}: not sent.` : r.outcome === 'delivered' ? 'Delivered.' : `Outcome: ${r.outcome}.`);

function Letter({ of: s, again }) {
  const [state, set] = useState({});
  const show = async () => { set({ busy: true }); try { set({ payload: await call('GET', `dead-letters/${s.sequence}/payload`, { exact: true }) }); } catch (error) { set({ error }); } };
  return html`<tr data-row tabindex="-1"><${Cell}>${s.key ? html`<${Key} of=${s.key} channel=${s.channel} />` : html`<code>${s.encoded_key}</code>`}<//><${Cell} of="Version" class="num mono">${s.version ?? 'unknown'}<//><${Cell} of="Letter" class="num mono">${s.sequence}<//><${Cell} of="Attempts" class="num">${count(s.attempts)}<//><${Cell} of="Given up" class="num"><${Time} at=${s.stored} ago=${true} /><//><${Cell} of="Answer"><bdi class="mono clip">${visible(s.response || s.reason || s.malformed || '')}</bdi><//>
      <${Cell} class="num"><span class="row end">${may('payload') && html`<button type="button" class="btn plain" disabled=${state.busy} onClick=${show}>Payload</button>`}${may('operate') && html`<${Done} name="Replay" tone="plain" run=${() => call('POST', `dead-letters/${part(String(s.sequence))}/replay`).then((r) => { setTimeout(again, 1500); return r; })} said=${came} />`}</span><//></tr>
    ${(state.payload || state.error) && html`<tr class="more"><td colspan="7"><${Failure} error=${state.error} />${state.payload && html`<${Payload} of=${state.payload} />`}</td></tr>`}`;
}

/** Export writes the letters that match as a file, page by page, without their payloads. */
function Export({ filter }) {
  const [said, say] = useState('');
  const run = async () => {
    try {
      const lines = [];
      let cursor;
      do {
        const page = await get('dead-letters', { ...filter, limit: 200, cursor });
        for (const l of page.letters) lines.push(JSON.stringify(l));
        cursor = page.next;
        say(`${count(lines.length)} letters…`);
      } while (cursor && lines.length < 100000);
      const a = document.createElement('a');
      a.href = URL.createObjectURL(new Blob([lines.join('\n') + '\n'], { type: 'application/x-ndjson' }));
      a.download = 'dead-letters.ndjson';
      a.click();
      setTimeout(() => URL.revokeObjectURL(a.href), 10000);
      say(`${count(lines.length)} letters written${cursor ? ', and there are more' : ''}.`);
    } catch (e) { say(e.message); }
  };
  return html`<button type="button" class="btn" onClick=${run}>Export as NDJSON</button><span class="said small" role="status">${said}</span>`;
}
