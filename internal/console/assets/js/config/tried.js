// What a draft would do to real updates, and the revisions before.
import { html, useState } from '../../vendor/ui.js';
import { call, get, part } from '../api.js';
import { may } from '../state.js';
import { Card, Failure, Act, Tally, Table, Cell, Key, Time, Dialog, useAsk, Note } from '../parts.js';
import { things, visible } from '../format.js';

const words = { same: ['equal', 'would be sent as before'], changed: ['changed', 'would be sent with other content', 'wait'], filtered_now: ['filtered', 'would be filtered that are sent now'], passes_now: ['send', 'would be sent that are filtered now'], fails: ['alert', 'would fail that do not now', 'stop'], fails_too: ['alert', 'fail, and fail now, too', 'stop'] };

export function DryRun({ name, draft, off }) {
  const [state, set] = useState({});
  const run = async () => { set({ busy: true }); try { set({ data: await call('POST', `channels/${part(name)}/dry-run`, { body: draft, exact: true }) }); } catch (error) { set({ error }); } };
  const d = state.data;
  return html`<${Card} title="Dry run" hint=${d ? `over the last ${things(d.looked, 'real update')}; nothing was sent` : 'over the last real updates; nothing is sent'} right=${html`<${Act} onClick=${run} disabled=${off || state.busy}>${d ? 'Run again' : 'Run'}<//>`}><${Failure} error=${state.error} what="It could not be run" />
    ${!d && !state.error && html`<div class="body"><p class="second" role="status">${state.busy ? 'Running…' : 'Shows what the draft would send instead of what is sent now.'}</p></div>`}
    ${d && html`<div class="body"><${Tally} of=${d.outcomes.map((o) => ({ n: o.count, icon: words[o.outcome]?.[0], text: words[o.outcome]?.[1] ?? o.outcome, tone: words[o.outcome]?.[2] }))} />${d.looked === 0 && html`<p class="second">The channel's stream holds no update to try.</p>`}${d.contents === false && html`<${Note} title="Contents are not shown."><p>They need the right <code>payload</code>.</p><//>`}</div>
      ${d.samples?.length > 0 && html`<${Table} label="Samples" heads=${['Key', { text: 'Version', class: 'num' }, 'Now', 'With this draft', 'Result']}>${d.samples.map((s) => html`<tr key=${s.key + s.version}><${Cell}><${Key} of=${s.key} channel=${name} /><//><${Cell} of="Version" class="num mono">${s.version}<//><${Cell} of="Now" class="mono"><${Content} of=${s.now} contents=${d.contents !== false} /><//><${Cell} of="With this draft" class="mono"><${Content} of=${s.draft} contents=${d.contents !== false} /><//><${Cell} of="Result">${s.error ? html`<span class="stop-t"><bdi>${visible(s.error)}</bdi></span>` : words[s.outcome]?.[1].replace('would be ', '') ?? s.outcome}<//></tr>`)}<//>`}`}<//>`;
}

const Content = ({ of, contents }) => (!contents ? html`<span class="quiet">not shown</span>` : of === null || of === undefined ? html`<span class="quiet">nothing</span>` : html`<bdi class="clip">${visible(JSON.stringify(of).slice(0, 300))}</bdi>`);

export function History({ name, revision, onRevert }) {
  const found = useAsk((s) => get(`channels/${part(name)}/history`, { limit: 20 }, s), [name, revision]);
  const [open, setOpen] = useState(null);
  const list = found.data?.revisions ?? [];
  return html`<${Card} title="History" hint="going back makes a new revision; it deletes none"><${Failure} error=${found.error} retry=${found.again} />
    ${found.data && list.length === 0 && html`<div class="body"><p class="second">The audit log does not reach back to a change of this channel.</p></div>`}
    ${list.length > 0 && html`<${Table} label="Revisions" heads=${['Revision', 'When', 'Who', 'Changed', { text: '', class: 'num' }]}>${list.map((r) => html`<tr key=${r.revision + r.at}><${Cell} class="mono">${r.revision ?? 'unknown'}${r.current && html` <span class="was small">in use</span>`}<//><${Cell} of="When"><${Time} at=${r.at} ago=${true} /><//><${Cell} of="Who"><bdi>${r.actor}</bdi><//><${Cell} of="Changed">${r.changed?.length ? r.changed.join(', ') : html`<span class="quiet">made</span>`}<//><${Cell} class="num">${r.config && html`<button type="button" class="btn plain" onClick=${() => setOpen(r)}>Show</button>${!r.current && may('configure') && html`<button type="button" class="btn plain" onClick=${() => { onRevert(r.config); scrollTo(0, 0); }}>Go back to it</button>`}`}<//></tr>`)}<//>`}
    ${open && html`<${Dialog} wide title=${`Revision ${open.revision}`} onClose=${() => setOpen(null)}><pre class="payload" tabindex="0" data-first><bdi>${visible(JSON.stringify(open.config, null, 2))}</bdi></pre><//>`}<//>`;
}
