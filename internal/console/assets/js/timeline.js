// The timeline of a key: what the outcome log says, and what people did, in one list, the newest first.
import { html, useState } from '../vendor/ui.js';
import { get } from './api.js';
import { rows, activity } from './state.js';
import { Card, Time, useAsk, ChannelLink } from './parts.js';
import { Icon } from './icons.js';
import { visible, utc, things, count } from './format.js';
import { sentence } from './record.js';

const icons = { delivered: ['in_sync', 'good'], superseded: ['ahead', ''], dead_lettered: ['dead', 'stop'], conflict: ['ahead', 'stop'], '': ['retrying', 'wait'] };

/** say tells of an entry of the outcome log. */
function say(channel, e) {
  const v = html`version <span class="mono">${e.version}</span>`;
  switch (e.outcome) {
    case 'delivered': return e.code === 'filtered' ? html`<${ChannelLink} name=${channel} /> filtered ${v}: nothing was sent` : e.code === 'removed' ? html`<${ChannelLink} name=${channel} /> deleted the key: it passes the filter no longer` : html`<${ChannelLink} name=${channel} /> delivered ${v}; ack sent`;
    case 'superseded': return html`<${ChannelLink} name=${channel} /> ${v} is superseded`;
    case 'dead_lettered': return html`<${ChannelLink} name=${channel} /> gave ${v} up`;
    case 'conflict': return html`<${ChannelLink} name=${channel} /> ${v} ended in a conflict`;
    default: return html`<${ChannelLink} name=${channel} /> could not deliver ${v}`;
  }
}

export function Timeline({ known, keyName }) {
  const newest = activity.value[0];
  const people = useAsk((s) => get('activity', { key: keyName, limit: 20 }, s).catch(() => ({ records: [] })), [keyName, newest && `${newest.id} ${newest.result}`]);
  const [most, setMost] = useState(12);
  const list = [];
  const published = new Set();
  for (const c of known) {
    for (const e of c.timeline?.entries ?? []) {
      const failed = !e.outcome;
      list.push({ at: e.at, icon: icons[failed ? '' : e.outcome] ?? icons[''], text: say(c.channel, e), more: [e.reason ?? e.error?.message ?? e.message, e.attempts ? `attempt ${e.attempts}` : '', e.code && e.code !== 'filtered' ? `code ${e.code}` : ''].filter(Boolean).join(', '), answer: e.response ?? e.error?.response });
    }
    const at = c.newest?.at;
    const id = c.newest?.version + at;
    if (at && !published.has(id)) {
      published.add(id);
      list.push({ at, icon: ['up', 'info'], text: html`Version <span class="mono">${c.newest.version}</span> was published${c.newest.op === 'delete' ? ', a delete' : ''}${known.length > 1 && !rows.value.get(c.channel)?.topic && html`, to <${ChannelLink} name=${c.channel} />`}`, more: '' });
    }
  }
  for (const r of people.data?.records ?? []) list.push({ at: r.at, icon: ['person', 'hand'], text: sentence(r), more: r.reason ? `“${r.reason}”` : '' });
  list.sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
  const oldest = known.map((c) => c.timeline).filter((t) => t && !t.complete);
  return html`<${Card} title="Timeline" hint="newest first"><ol class="timeline">${list.slice(0, most).map((e, i) => html`<li key=${i} class=${e.icon[1]}><${Time} at=${e.at} /><${Icon} name=${e.icon[0]} /><div><p>${e.text}</p>${e.more && html`<p class="second small"><bdi>${visible(e.more)}</bdi></p>`}${e.answer && html`<details><summary class="small">Answer of the target</summary><pre class="payload" tabindex="0"><bdi>${visible(e.answer)}</bdi></pre></details>`}</div></li>`)}</ol>
    ${list.length === 0 && html`<div class="body"><p class="second">The outcome log says nothing of the key any more.</p></div>`}
    ${list.length > most && html`<p class="body"><button type="button" class="btn" onClick=${() => setMost(most + 50)}>Show ${count(Math.min(50, list.length - most))} older</button></p>`}
    ${oldest.length > 0 && list.length > 0 && html`<p class="body quiet small">The log was read back to ${utc(new Date(oldest[0].since ?? Date.now()))} in ${things(oldest.length, 'channel')}.</p>`}<//>`;
}
