// Overview: the first answer is what needs a person.
import { html } from '../../vendor/ui.js';
import { rows, totals, topics, attention, attentionMore, loaded, activity, may, came } from '../state.js';
import { get } from '../api.js';
import { Card, Health, Sync, Time, Loading, ChannelLink, Empty, useSteady, useAsk, Table, Cell } from '../parts.js';
import { Network } from '../network.js';
import { count, things, rate, share, visible } from '../format.js';
import { link } from '../router.js';
import { Record } from '../record.js';
import { NextStep } from '../acts.js';
import { urgency, syncOf, isQuiet } from '../words.js';

export function Overview() {
  if (!loaded.value) return html`<div class="title"><h1>Overview</h1></div><${Loading} rows="6" what="the overview" />`;
  const all = [...rows.value.values()];
  const t = totals.value;
  if (all.length === 0) {
    return html`<div class="title"><h1>Overview</h1></div><${Empty} title="There is no channel yet."><p>A channel is a named route to one external system. ${may('configure') && html`<a href=${link(['channels'], { new: '1' })}>Make the first one</a>, or run <code>extsync channels init</code>.`}</p><//>`;
  }
  const inSync = all.filter((r) => r.health === 'ok' && !r.not_newest && syncOf(r) === 'in_sync').length;
  const mends = attention.value.filter((a) => !a.person);
  return html`<div class="title"><div><h1>Overview</h1><p>${inSync} of ${things(t.channels, 'channel')} ${inSync === 1 ? 'is' : 'are'} wholly in sync. ${count(t.not_newest)} of ${things(t.copies, 'copy', 'copies')} ${t.not_newest === 1 ? 'is' : 'are'} not at the newest version; ${things(t.needs_person, 'thing needs', 'things need')} a person.</p></div></div>
    <${Attention} of=${attention.value.filter((a) => a.person)} mends=${mends} more=${attentionMore.value} />
    <${Figures} t=${t} all=${all} />
    <${Card} title="Network" hint="what is wanted on the left, what each system holds on the right"><${Network} rows=${all} topics=${topics.value} /><//>
    <div class="two"><${ChannelTable} all=${all} />${may('read') && html`<${Recent} />`}</div>`;
}

/** idOf tells the lines of one channel apart. */
const idOf = (a) => [a.channel, a.why, a.health, a.sync].join('/');

function Attention({ of, mends, more }) {
  const steady = useSteady(of, idOf);
  return html`<${Card} title="Needs attention" hint=${of.length ? 'none of these mends itself' : ''} right=${steady.fresh > 0 && html`<button type="button" class="btn plain" onClick=${steady.show}>${count(steady.fresh)} new, show</button>`}>
    ${of.length === 0 && html`<div class="body"><p class="second">Nothing needs a person.</p></div>`}
    <ul class="reasons" ...${steady.hold}>${steady.list.map(({ item, gone }) => html`<${Reason} key=${idOf(item)} of=${item} gone=${gone} />`)}</ul>
    ${more > 0 && html`<p class="body second small">${count(more)} more: see <a href=${link(['channels'], { health: 'blocked,dead,paused,down,retrying,parked' })}>the channels that are not ok</a>.</p>`}
    ${mends.length > 0 && html`<details class="mends"><summary><b>${things(mends.length, 'thing mends itself', 'things mend themselves')}</b><span class="second">, without anybody</span></summary><ul class="reasons">${mends.map((a) => html`<${Reason} key=${idOf(a)} of=${a} />`)}</ul></details>`}<//>`;
}

/** Reason is one line: what it is, why, since when, how many keys, and the next step. */
function Reason({ of: a, gone }) {
  return html`<li class=${gone ? 'gone' : ''} data-row tabindex="-1"><span class="state">${a.health === 'ok' && a.sync ? html`<${Sync} of=${a.sync} />` : html`<${Health} of=${a.health} />`}</span>
    <div class="what"><p><${ChannelLink} name=${a.channel} />: ${visible(a.text)}.</p><p class="second small">${a.advice && html`Next: ${visible(a.advice)}. `}<code class="code">${a.why}</code></p></div>
    <div class="fact">${a.since && !a.since.startsWith('0001-') && html`<b><${Time} at=${a.since} /></b><span>since</span>`}</div><div class="fact"><b>${count(a.keys)}</b><span>${a.keys === 1 ? 'key' : 'keys'}</span></div>
    <div class="do"><${NextStep} of=${a} /></div></li>`;
}

function Figures({ t, all }) {
  const oldest = all.map((r) => r.oldest).filter((o) => o && !o.startsWith('0001-')).sort()[0];
  const newest = t.copies - t.not_newest;
  const fig = (name, value, more) => html`<div><dt>${name}</dt><dd>${value}</dd><dd>${more}</dd></div>`;
  return html`<section class="card" aria-label="Figures"><dl class="figures">
    ${fig('Copies at the newest version', share(newest, t.copies), `${count(newest)} of ${count(t.copies)}`)}
    ${fig('Not at the newest', count(t.not_newest), `${count(t.undelivered)} undelivered`)}
    ${fig('Published', rate(t.published_rate), `${rate(t.settled_rate)} settled`)}
    ${fig('Oldest that waits', oldest ? html`<${Time} at=${oldest} />` : 'none', oldest ? 'since it was published' : 'everything has an outcome')}
    ${fig('Dead letters', count(t.dead), html`<a href=${link(['dead'])}>by reason</a>`)}</dl></section>`;
}

/** ChannelTable says all of the network again, for who cannot see it. */
function ChannelTable({ all }) {
  const list = [...all].sort((a, b) => urgency(a) - urgency(b) || b.not_newest - a.not_newest || (a.channel < b.channel ? -1 : 1)).slice(0, 20);
  return html`<${Card} title="Channels" hint="those that are not ok first" right=${html`<a href=${link(['channels'])}>all ${count(all.length)}</a>`}>
    <${Table} label="Channels" heads=${['Channel', 'Health', { text: 'Not newest', class: 'num' }, { text: 'Rate', class: 'num' }]}>${list.map((r) => html`<tr key=${r.channel} class=${isQuiet(r) ? 'insync' : ''}><${Cell}><${ChannelLink} name=${r.channel} /><//><${Cell} of="Health"><${Health} of=${r.health} /><//><${Cell} of="Not newest" class="num">${count(r.not_newest)}<//><${Cell} of="Rate" class="num">${rate(r.settled_rate)}<//></tr>`)}<//><//>`;
}

function Recent() {
  const { data } = useAsk((s) => get('activity', { limit: 8 }, s), [came.value]);
  const seen = new Set();
  const list = [...activity.value, ...(data?.records ?? [])].filter((r) => !seen.has(r.id) && seen.add(r.id)).slice(0, 8);
  return html`<${Card} title="Changed by people" right=${html`<a href=${link(['activity'])}>all</a>`}><ul class="feed">${list.map((r) => html`<${Record} key=${r.id} of=${r} />`)}</ul>${list.length === 0 && html`<div class="body"><p class="second">Nobody has changed anything yet.</p></div>`}<//>`;
}
