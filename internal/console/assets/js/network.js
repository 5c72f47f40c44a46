// The network: platform, topics, channels and targets as stations and lines. Colour, dash and shape say the health,
// the width the rate. Every line is one link whose text says all of it again.
import { html, useEffect, useRef, useState } from '../vendor/ui.js';
import { inner } from './icons.js';
import { link } from './router.js';
import { Health } from './parts.js';
import { count, rate, things, visible, middle } from './format.js';
import { healthTone, healthWords, healthOrder, urgency, syncWords, syncOf, isQuiet } from './words.js';

/** most is how many lines can be told apart. With more channels each is a tile. */
const most = 40;
const step = 34;
const x = { platform: 58, topic: 250, channel: 420, chip: 620, rate: 800, target: 860 };

/** width is how thick a line is: wider by 2.3 pixels for ten times the rate. */
const width = (perSecond) => (1.6 + 2.3 * Math.log10(1 + (perSecond || 0))).toFixed(1);

/** state sums a channel up in a few words. */
export function state(row) {
  if (row.health !== 'ok') return `${healthWords[row.health] ?? row.health}${row.not_newest ? `, ${count(row.not_newest)} behind` : ''}`;
  if (row.not_newest) return `${count(row.not_newest)} ${syncWords[syncOf(row)]}`;
  return syncOf(row) === 'unknown' ? 'not counted yet' : syncWords[syncOf(row)];
}

/** plan puts channels into the order of their topics, and says where each stands. */
function plan(rows) {
  const byTopic = new Map();
  for (const row of rows) {
    const topic = row.topic || '';
    if (!byTopic.has(topic)) byTopic.set(topic, []);
    byTopic.get(topic).push(row);
  }
  const groups = [...byTopic.entries()].sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1));
  const lines = [];
  const stations = [];
  let y = 58;
  for (const [topic, members] of groups) {
    const first = y;
    for (const row of members.sort((a, b) => (a.channel < b.channel ? -1 : 1))) {
      lines.push({ row, y, topic });
      y += step;
    }
    stations.push({ topic, y: (first + y - step) / 2, first, last: y - step, rate: members.reduce((n, r) => n + (r.published_rate || 0), 0) / (topic ? members.length : 1) });
    y += topic ? 14 : 4;
  }
  const middleY = stations.length ? (stations[0].y + stations.at(-1).y) / 2 : 58;
  return { lines, stations, height: y + 4, middleY };
}

function bend(x1, y1, x2, y2) {
  const mid = x2 - Math.min(60, Math.abs(y2 - y1) + 12) - 8;
  return y1 === y2 ? `M${x1} ${y1}H${x2}` : `M${x1} ${y1}H${Math.max(mid - 30, x1 + 6)}L${Math.max(mid, x1 + 24)} ${y2}H${x2}`;
}

function Line({ at, from }) {
  const { row, y } = at;
  const tone = healthTone[row.health] ?? 'idle';
  const cut = row.health === 'blocked';
  const words = state(row);
  const w = width(row.settled_rate);
  const start = from ? x.topic + 7 : x.platform + 44;
  // Its texts are its name: a space after each keeps them apart when it is spoken.
  const name = middle(row.channel, 24) + ' ';
  const target = visible(middle((row.target || row.kind).replace(/^[a-z]+:\/\//, ''), 30)) + ' ';
  const dead = row.dead > 0 ? things(row.dead, 'dead letter') : '';
  return html`<a href=${link(['channels', row.channel])} class="line ${tone} h-${row.health}" data-row tabindex="0">
    <path class="track" d=${bend(start, from ? from.y : at.middleY, x.channel, y)} stroke-width=${w} />
    <path class="track" d=${`M${x.channel} ${y}H${cut ? x.rate - 8 : x.target}`} stroke-width=${w} />
    ${cut && html`<path class="stop" d=${`M${x.rate - 8} ${y - 7}v14`} />`}
    ${row.dead > 0 && html`<path class="siding" d=${`M${x.channel + 132} ${y}l12 12h26m0 -4v8`} />`}
    <circle class="station" cx=${x.channel} cy=${y} r="5" />
    <text class="name" x=${x.channel + 14} y=${y + 4}>${name}</text>
    <g transform=${`translate(${x.chip} ${y - 11})`}><rect class="tag" width=${words.length * 6.5 + 32} height="22" rx="11" /><svg class="i" x="8" y="4" width="14" height="14" viewBox="0 0 16 16">${inner(row.health === 'ok' ? syncOf(row) : row.health)}</svg><text class="word" x="26" y="15">${words + ' '}</text></g>
    <rect class="behind" x=${x.rate - 2} y=${y - 9} width="48" height="18" /><text class="rate" x=${x.rate + 42} y=${y + 4}>${rate(row.settled_rate) + ' '}</text>
    <rect class="end" x=${x.target - 3} y=${y - 8} width="7" height="16" rx="2" />
    <text class="target" x=${x.target + 12} y=${y + 4}>${target}<tspan class="kind" dx="6">${row.kind + ' '}</tspan></text>
    ${dead && html`<text class="dead" x=${x.channel + 178} y=${y + 17}>${dead}</text>`}
  </a>`;
}

function Drawn({ rows, topics }) {
  const { lines, stations, height, middleY } = plan(rows);
  const keys = new Map(topics.map((t) => [t.topic, t.keys]));
  return html`<div class="drawn"><svg class="network" viewBox="0 0 1160 ${height}" role="group" aria-label="Network of channels">
    <g class="columns" aria-hidden="true"><text x=${x.platform - 42} y="24">Platform</text><text x=${x.topic - 20} y="24">Topics</text><text x=${x.channel - 5} y="24">Channels</text><text x=${x.rate + 8} y="24">Rate</text><text x=${x.target - 4} y="24">Targets</text></g>
    ${stations.filter((s) => s.topic).map((s) => html`<path class="feed" d=${`M${x.platform + 44} ${middleY}L${x.topic - 40} ${s.y}H${x.topic}`} stroke-width=${width(s.rate)} />`)}
    ${lines.map((l) => html`<${Line} key=${l.row.channel} at=${{ ...l, middleY }} from=${l.topic ? stations.find((s) => s.topic === l.topic) : null} />`)}
    ${stations.filter((s) => s.topic).map((s) => html`<g class="topic"><rect x=${x.topic - 6} y=${s.first - 10} width="12" height=${s.last - s.first + 20} rx="6" /><text class="name" x=${x.topic - 14} y=${s.y - 8}>${middle(s.topic, 22)}</text><text class="kind" x=${x.topic - 14} y=${s.y + 18}>${keys.has(s.topic) && things(keys.get(s.topic), 'key')}</text></g>`)}
    <g class="platform"><rect x=${x.platform - 44} y=${middleY - 26} width="88" height="52" rx="8" /><text class="name" x=${x.platform} y=${middleY + 5}>Platform</text></g>
  </svg></div>`;
}

/** Rail says the same along one rail, for narrow pages. */
const Rail = ({ rows }) => html`<ul class="rail">${rows.filter((r) => !isQuiet(r)).map((row) => html`<li key=${row.channel} class="${healthTone[row.health] ?? 'idle'} h-${row.health}"><a href=${link(['channels', row.channel])}>${row.channel}</a><span class="second small">${state(row)}${row.dead ? `, ${things(row.dead, 'dead letter')}` : ''}</span></li>`)}
  <li class="good fold"><a href=${link(['channels'])}>${things(rows.filter(isQuiet).length, 'channel is', 'channels are')} in sync</a></li></ul>`;

/** mostTiles is how many can be looked over; the others, which are the least urgent, are drawn for whoever asks. */
const mostTiles = 300;

const tile = (row) => html`<a key=${row.channel} class="tile ${healthTone[row.health] ?? 'idle'} h-${row.health}${isQuiet(row) ? ' insync' : ''}" href=${link(['channels', row.channel])} title=${`${row.channel}: ${state(row)}, ${rate(row.settled_rate)}`} aria-label=${`${row.channel}: ${state(row)}`}><svg class="i" viewBox="0 0 16 16" aria-hidden="true">${inner(row.health === 'ok' ? syncOf(row) : row.health)}</svg>${middle(row.channel, 14)}</a>`;

/** Tiles counts many channels by their health, and shows one tile each, the most urgent first. */
function Tiles({ rows }) {
  const [whole, draw] = useState(false);
  const list = useRef();
  useEffect(() => { if (whole) list.current.children[mostTiles]?.focus(); }, [whole]);
  const sorted = [...rows].sort((a, b) => urgency(a) - urgency(b) || isQuiet(a) - isQuiet(b) || (a.channel < b.channel ? -1 : 1));
  const shown = whole ? sorted : sorted.slice(0, mostTiles);
  const left = sorted.slice(shown.length);
  const quiet = rows.filter(isQuiet).length;
  const by = [...new Set([...healthOrder, ...rows.map((r) => r.health)])].map((health) => [health, rows.filter((r) => r.health === health).length]).filter(([, n]) => n);
  return html`<ul class="byhealth">${by.map(([health, n]) => html`<li key=${health}><a href=${link(['channels'], { health })}><${Health} of=${health} n=${n} /></a></li>`)}</ul>
    <div class="tiles" ref=${list}>${shown.map(tile)}</div>${quiet > 0 && html`<p class="body folded second">${things(quiet, 'channel is', 'channels are')} in sync and folded here: see <a href=${link(['channels'])}>all channels</a>.</p>`}
    ${left.length > 0 && html`<p class="body second ${left.every(isQuiet) ? 'insync' : ''}">${things(left.length, 'channel that is less urgent is', 'channels that are less urgent are')} not drawn. <button type="button" class="btn plain" onClick=${() => draw(true)}>Draw ${left.length === 1 ? 'it' : 'them'}</button></p>`}`;
}

export function Network({ rows, topics }) {
  if (rows.length > most) return html`<${Tiles} rows=${rows} />`;
  return html`<${Drawn} rows=${rows} topics=${topics} /><${Rail} rows=${rows} /><${Legend} />`;
}

const sample = (cls, d = 'M2 7h32') => html`<svg class="sample line ${cls}" viewBox="0 0 36 14" aria-hidden="true"><path class="track" d=${d} stroke-width="3" /></svg>`;
const Legend = () => html`<ul class="legend"><li>${sample('good h-ok')}ok</li><li>${sample('wait h-retrying')}retrying</li><li>${sample('wait h-down')}down: the target does not answer</li><li>${sample('stop h-blocked', 'M2 7h26m0 -6v12')}blocked</li><li>${sample('hand h-paused')}paused</li><li>A thicker line carries more updates a second.</li></ul>`;
