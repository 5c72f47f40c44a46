// What the console knows, and how it stays true: the session, and one stream of events that everything on every
// page is fed from. Nothing is kept that is not shown: memory is flat however long the page stays open.
import { signal, computed, batch } from './lib.js';
import { call, get, eventsAddress, onLoggedOut } from './api.js';

/** session says who is asking and what that person may do. null: not known yet. */
export const session = signal(null);

/** may reports whether the person has a right; what one may not do is not offered. */
export const may = (scope) => session.value?.scopes?.includes(scope) ?? false;

export async function loadSession() {
  session.value = await get('session');
  if (session.value.who) start();
}

export async function login(token) {
  session.value = await call('POST', 'session', { body: { token } });
  start();
}

export async function logout() {
  stop();
  await call('DELETE', 'session').catch(() => { /* the cookie is what counts, and it is asked about next */ });
  forget();
  session.value = await get('session');
}

onLoggedOut.call = () => {
  if (!session.value?.who) return;
  stop();
  forget();
  session.value = { ...session.value, who: '', scopes: [] };
};

/** rows are the channels by name, totals what they add up to; null: not loaded yet. */
export const rows = signal(new Map());
export const totals = signal(null);
export const topics = signal([]);
export const attention = signal([]);
export const attentionMore = signal(0);
export const asOf = signal(null);
export const loaded = signal(false);
export const failure = signal(null);
/** jobs that run or have just ended; activity that has come since the page was opened, the newest first. */
export const jobs = signal([]);
export const activity = signal([]);

/** line is the state of the stream: off, connecting, live or lost. since: of which time what is shown is. */
export const line = signal('off');
/** held: the reader wants nothing to move; waiting are the changes that have come meanwhile. */
export const held = signal(false);
export const waiting = signal(0);

/** history is the last rates of each channel, for sparklines: at most keepPoints each. */
const keepPoints = 60;
export const history = new Map();

export const channelNames = computed(() => [...rows.value.keys()].sort());
/** acting: whether acts make sense now; while the server is away they do not. */
export const acting = computed(() => line.value !== 'lost');

let source = null;
let pending = [];
let again = null;

function forget() {
  batch(() => {
    rows.value = new Map(); totals.value = null; topics.value = []; attention.value = []; loaded.value = false;
    jobs.value = []; activity.value = []; history.clear(); pending = []; waiting.value = 0; held.value = false;
  });
}

/** maxPages bounds how many channels are kept: 200 each. */
const maxPages = 25;

/** reload asks for everything once: at the start, and when the stream was cut. */
export async function reload() {
  try {
    const found = new Map();
    let page = await get('overview', { limit: 200 });
    const first = page;
    for (let n = 1; ; n++) {
      for (const row of page.channels) found.set(row.channel, row);
      if (n === 1) show(found, first);
      if (!page.next || n === maxPages) break;
      page = await get('overview', { limit: 200, cursor: page.next });
    }
    show(found, first);
  } catch (e) {
    failure.value = e;
    return;
  }
  try { jobs.value = (await get('jobs', { limit: 20 })).jobs; } catch { /* the page of jobs says why */ }
}

function show(found, first) {
  batch(() => {
    rows.value = new Map(found);
    totals.value = first.totals;
    topics.value = first.topics ?? [];
    attention.value = first.attention ?? [];
    attentionMore.value = first.attention_more ?? 0;
    asOf.value = first.at;
    loaded.value = true;
    failure.value = null;
    for (const row of found.values()) remember(row);
  });
}

function remember(row) {
  let points = history.get(row.channel);
  if (!points) history.set(row.channel, points = []);
  points.push(row.settled_rate ?? 0);
  if (points.length > keepPoints) points.shift();
}

/** take brings what an event says into what is shown, or keeps it while the reader holds it. */
function take(kind, data) {
  if (held.value) {
    waiting.value++;
    pending.push([kind, data]);
    if (pending.length > 200) pending = [['reload', null]]; // all of it is asked for instead
    return;
  }
  apply(kind, data);
}

let attentionDue = null;

function apply(kind, data) {
  batch(() => {
    switch (kind) {
      case 'rows': {
        const next = new Map(rows.value);
        for (const name of data.gone ?? []) { next.delete(name); history.delete(name); }
        for (const row of data.rows ?? []) { next.set(row.channel, row); remember(row); }
        rows.value = next;
        if (data.totals) totals.value = data.totals;
        asOf.value = data.at;
        attentionDue ??= setTimeout(lookAtAttention, 2000);
        break;
      }
      case 'jobs': {
        const byID = new Map(jobs.value.map((j) => [j.id, j]));
        for (const job of data.jobs) byID.set(job.id, job);
        jobs.value = [...byID.values()].sort((a, b) => (a.created < b.created ? 1 : -1)).slice(0, 50);
        break;
      }
      case 'activity':
        activity.value = [...data.records].reverse().concat(activity.value).slice(0, 50);
        break;
      case 'reload':
        reload();
    }
  });
}

/** lookAtAttention asks what needs a person, at most every two seconds while something changes. */
async function lookAtAttention() {
  attentionDue = null;
  try {
    const page = await get('overview', { limit: 1 });
    batch(() => { attention.value = page.attention ?? []; attentionMore.value = page.attention_more ?? 0; topics.value = page.topics ?? topics.value; });
  } catch { /* the stream says when the server is away */ }
}

/** hold keeps what is shown as it is, or lets it go on. */
export function hold(on) {
  held.value = on;
  if (on) return;
  const missed = pending;
  pending = [];
  waiting.value = 0;
  for (const [kind, data] of missed) apply(kind, data);
}

function start() {
  if (source) return;
  reload();
  line.value = 'connecting';
  source = new EventSource(eventsAddress());
  source.addEventListener('hello', () => {
    if (line.value === 'lost') take('reload', null); // it may have missed something
    line.value = 'live';
  });
  for (const kind of ['rows', 'jobs', 'activity']) source.addEventListener(kind, (e) => take(kind, JSON.parse(e.data)));
  source.addEventListener('error', lost);
}

/** lost says so; the browser asks again by itself, but not after an answer that is no stream. */
function lost() {
  line.value = 'lost';
  if (source?.readyState !== EventSource.CLOSED || again) return;
  again = setTimeout(async () => {
    again = null;
    if (!source) return;
    stop();
    line.value = 'lost';
    try {
      session.value = await get('session');
      if (session.value.who) { start(); line.value = 'lost'; }
    } catch { source = { close() {}, readyState: EventSource.CLOSED }; lost(); }
  }, 3000);
}

function stop() {
  clearTimeout(again);
  again = null;
  source?.close();
  source = null;
  line.value = 'off';
}
