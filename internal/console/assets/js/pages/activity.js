// Activity: what people and their programs did, and the jobs.
import { html, useState, useEffect } from '../../vendor/ui.js';
import { get, part } from '../api.js';
import { jobs, may, activity, came } from '../state.js';
import { place, refine } from '../router.js';
import { Card, Failure, Loading, useAsk } from '../parts.js';
import { Record } from '../record.js';
import { JobLine } from '../jobs.js';
import { visible } from '../format.js';

export function Activity() {
  const channel = place.value.query.get('channel') ?? '';
  const [pages, setPages] = useState(['']);
  useEffect(() => setPages(['']), [channel]);
  const newest = pages.length === 1 && activity.value[0]; // the first page is live
  const first = useAsk((s) => get('activity', { channel, limit: 50, cursor: pages.at(-1) }, s), [channel, pages.at(-1), newest && `${newest.id} ${newest.result}`, came.value]);
  const old = useAsk((s) => get('jobs', { limit: 50 }, s), [came.value]);
  const list = [...jobs.value, ...(old.data?.jobs ?? [])].filter((j, i, all) => all.findIndex((o) => o.id === j.id) === i).slice(0, 50);
  return html`<div class="title"><div><h1>Activity</h1><p>What people and their programs did here, and the jobs that the server runs for them.</p></div></div>
    <${Card} title="Jobs" hint=${list.length || !old.data ? '' : 'none yet'}>${list.length === 0 ? html`<div class="body"><p class="second">A replay, discard or resync of many keys becomes a job: with progress, a stop and a record here.</p></div>` : list.map((j) => html`<${JobLine} key=${j.id} of=${j} />`)}<${Failure} error=${old.error} retry=${old.again} /><//>
    <${Card} title="Audit log" hint="newest first; publishing is not in it" right=${channel && html`<button type="button" class="btn" onClick=${() => refine({ channel: '' })}>Only ${channel}: show all</button>`}>
      <${Failure} error=${first.error} retry=${first.again} />${!first.data ? !first.error && html`<${Loading} what="the audit log" />` : html`<ul class="feed wide">${first.data.records.map((r) => html`<${Line} key=${r.id + r.result} of=${r} />`)}</ul>
        ${first.data.records.length === 0 && html`<div class="body"><p class="second">Nothing is in it yet.</p></div>`}
        <div class="pager"><button type="button" class="btn" disabled=${pages.length === 1} onClick=${() => setPages(pages.slice(0, -1))}>Newer</button><button type="button" class="btn" disabled=${!first.data.next} onClick=${() => setPages([...pages, first.data.next])}>Older</button></div>`}<//>`;
}

/** Line is a record that shows what was before and after to whoever may see it. */
function Line({ of: r }) {
  const [detail, setDetail] = useState(null);
  const [error, setError] = useState(null);
  const open = (e) => { if (e.currentTarget.open && !detail) get(`activity/${part(r.id)}`).then(setDetail, setError); };
  return html`<${Record} of=${r} />${may('admin') && html`<li class="detail"><details onToggle=${open}><summary class="small">Before and after</summary><${Failure} error=${error} />${detail && html`<div class="two">${['before', 'after'].map((w) => html`<div><h3>${w === 'before' ? 'Before' : 'After'}</h3><pre class="payload" tabindex="0"><bdi>${visible(JSON.stringify(detail[w] ?? null, null, 2))}</bdi></pre></div>`)}</div>`}</details></li>`}`;
}
