// Workers: who works on what, and what each waits for.
import { html } from '../../vendor/ui.js';
import { get } from '../api.js';
import { rows } from '../state.js';
import { Card, ChannelLink, Time, Failure, Loading, Empty, Table, Cell, Note, Command, useAsk, useEvery } from '../parts.js';
import { count, things, visible, span } from '../format.js';

export function Workers() {
  const found = useAsk((s) => get('workers', {}, s), []);
  useEvery(5000, found.again);
  const d = found.data;
  if (!d) return html`<h1>Workers</h1>${found.error ? html`<${Failure} error=${found.error} retry=${found.again} />` : html`<${Loading} what="workers" />`}`;
  const alive = d.workers.filter((w) => w.alive).length;
  return html`<div class="title"><div><h1>Workers</h1><p>${things(alive, 'worker is', 'workers are')} alive${d.workers.length > alive ? `, ${count(d.workers.length - alive)} not` : ''}. ${alive === 1 ? 'It works on' : 'They share'} ${things(rows.value.size, 'channel')}.</p></div></div>
    <${Failure} error=${found.error} retry=${found.again} />
    ${d.unowned.length > 0 && html`<${Note} tone="stop" title="Nobody works on these."><ul>${d.unowned.slice(0, 20).map((u) => html`<li><${ChannelLink} name=${u.channel} />${u.partitions?.length ? `, partitions ${u.partitions.join(', ')}` : ''}: ${things(u.undelivered, 'update waits', 'updates wait')}. ${visible(u.advice)}</li>`)}</ul><//>`}
    ${d.workers.length === 0 && html`<${Empty} title="No worker has ever run here."><p>Start one with <code>connector-worker</code>.</p><//>`}
    ${d.workers.length > 0 && html`<${Card} title="Who they are"><${Table} label="Workers" heads=${['Worker', 'State', 'Host', 'Version', { text: 'Started', class: 'num' }, { text: 'Last sign', class: 'num' }, { text: 'Channels', class: 'num' }, 'Shards']}>${d.workers.slice(0, 200).map((w) => html`<tr key=${w.worker} data-row tabindex="-1"><${Cell} class="mono">${w.worker}<//><${Cell} of="State">${w.error ? html`<span class="stop-t">its record cannot be read</span>` : !w.alive ? html`<span class="chip round stop"><b>gone</b></span>` : w.draining ? html`<span class="chip round hand"><b>draining</b></span>` : html`<span class="chip round good"><b>alive</b></span>`}<//><${Cell} of="Host">${w.host ? `${w.host}, pid ${w.pid}` : 'unknown'}<//><${Cell} of="Version">${w.version || 'unknown'}<//><${Cell} of="Started" class="num"><${Time} at=${w.started} ago=${true} /><//><${Cell} of="Last sign" class="num">${span(w.last_beat_age_seconds)}<//><${Cell} of="Channels" class="num">${count(w.channels)}<//><${Cell} of="Shards">${things(w.shards.length, 'shard')}${w.wants?.length ? html`<small>waits for ${w.wants.length} more</small>` : ''}<//></tr>`)}<//><//>
    <${Card} title="What they wait for">${d.workers.every((w) => w.waits.length === 0) ? html`<div class="body"><p class="second">Nobody waits for anything.</p></div>` : html`<${Table} label="Waits" heads=${['Worker', 'Channel', 'Why', 'Next step', { text: 'Since', class: 'num' }]}>${d.workers.flatMap((w) => w.waits.map((x) => html`<tr><${Cell} class="mono">${w.worker}<//><${Cell} of="Channel"><${ChannelLink} name=${x.channel} />${x.partitions?.length && html`<small>partitions ${x.partitions.join(', ')}</small>`}<//><${Cell} of="Why">${visible(x.message)} <code class="code">${x.code}</code>${x.stalled && html`<small>it has settled nothing for too long</small>`}<//><${Cell} of="Next step">${visible(x.advice)}<//><${Cell} of="Since" class="num"><${Time} at=${x.since} /><//></tr>`))}<//>`}<//>`}
    <${Card} title="Take one out of service"><div class="body"><p class="second">A worker that is asked to end finishes what it has in hand and gives its channels to the others. Its own machine does that: send it SIGTERM, or stop its unit or container. Nothing is lost if it is killed.</p><${Command} text="extsync workers" /></div><//>`;
}
