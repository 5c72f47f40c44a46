// What the console knows, and how it stays true: the session, and one stream of events that everything on every
// page is fed from. Nothing is kept that is not shown: memory is flat however long the page stays open.
import { signal, computed, batch } from '../vendor/ui.js';
import { call, get, eventsAddress, onLoggedOut } from './api.js';

/** session says who is asking and what that person may do. null: not known yet. */
export const session = signal(null);

/** may reports whether the person has a right; what one may not do is not offered. */
export const may = (scope) => session.value?.scopes?.includes(scope) ?? false;

export async function loadSession() {
  accept(await get('session'));
}

export async function login(token) {
  accept(await call('POST', 'session', { body: { token } }));
}

/** accept takes a session; of somebody else's nothing is kept. */
function accept(s) {
  if (s.who !== session.value?.who || s.id !== session.value?.id) { stop(); forget(); }
  session.value = s;
  if (!source && may('read')) reload();
}

/** logout ends the login. Nothing stays on the page, whether the server answers or not. */
export async function logout() {
  stop();
  forget();
  const was = session.value;
  const mine = turn;
  session.value = { ...was, who: '', scopes: [] };
  try {
    await call('DELETE', 'session').catch((e) => { if (e.status !== 401) throw e; });
    const s = await get('session');
    if (mine === turn) accept(s);
  } catch (error) {
    if (mine === turn) session.value = { ...was, who: '', scopes: [], stays: error }; // the cookie may be good still
  }
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
/** restored is when somebody found that the broker holds older files than before; '': nobody has. */
export const restored = signal('');
export const loaded = signal(false);
export const failure = signal(null);
/** jobs that run or have just ended; activity that has come since the page was opened, the newest first. */
export const jobs = signal([]);
export const activity = signal([]);

/** line is the state of the stream: off, connecting, live or lost. since: of which time what is shown is. */
export const line = signal('off');
/** came counts how often the stream has begun: what it does not tell is asked for again. */
export const came = signal(0);
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
/** turn and looks count what is asked for: an answer that was overtaken is dropped. */
let turn = 0;
let looks = 0;
/** meanwhile are the rows that have come while all are asked for: they are newer. null: nothing is asked for. */
let meanwhile = null;

function forget() {
  turn++;
  looks++;
  onLoggedOut.turn++;
  clearTimeout(attentionDue);
  attentionDue = null;
  batch(() => {
    rows.value = new Map(); totals.value = null; topics.value = []; attention.value = []; attentionMore.value = 0; loaded.value = false; asOf.value = null; restored.value = ''; failure.value = null;
    jobs.value = []; activity.value = []; history.clear(); pending = []; waiting.value = 0; held.value = false;
  });
}

/** maxPages bounds how many channels are kept: 200 each. */
const maxPages = 25;
/** soon is after how long the server is asked again, in ms. */
const soon = 3000;

/** reload asks for everything once: at the start, and when the stream was cut. What changes from then on, the stream tells. */
export async function reload() {
  clearTimeout(again);
  again = null;
  const mine = ++turn;
  const look = ++looks;
  meanwhile = new Map();
  try {
    const found = new Map();
    let page = await get('overview', { limit: 200 });
    const first = page;
    for (let n = 1; mine === turn; n++) {
      for (const row of page.channels) { found.set(row.channel, row); remember(row); }
      if (n === 1) show(found, first, look, !page.next);
      if (!page.next || n === maxPages) break;
      page = await get('overview', { limit: 200, cursor: page.next });
    }
    if (mine !== turn) return;
    show(found, first, look, true);
    meanwhile = null;
    if (!source) listen(first.at);
  } catch (e) {
    if (mine !== turn) return;
    failure.value = e;
    if (!e.status || e.status >= 500) again = setTimeout(reload, soon);
    return;
  }
  try {
    const list = (await get('jobs', { limit: 20 })).jobs;
    if (mine === turn) putJobs(list);
  } catch { /* the page of jobs says why */ }
}

/** putJobs takes jobs; of one that is known already the newer. */
export function putJobs(list) {
  const byID = new Map(jobs.value.map((j) => [j.id, j]));
  for (const job of list) if (!(Date.parse(byID.get(job.id)?.updated) > Date.parse(job.updated))) byID.set(job.id, job);
  jobs.value = [...byID.values()].sort((a, b) => Date.parse(b.created) - Date.parse(a.created)).slice(0, 50);
}

/** show takes what was found; until it is all of it, channels that are known already stay as they were. */
function show(found, first, look, whole) {
  batch(() => {
    const next = whole ? new Map(found) : new Map([...rows.value, ...found]);
    for (const [name, row] of meanwhile) { if (row) next.set(name, row); else next.delete(name); }
    rows.value = next;
    if (whole) for (const name of history.keys()) if (!next.has(name)) history.delete(name);
    if (!meanwhile.size) { totals.value = first.totals; asOf.value = first.at; }
    if (look === looks) showAttention(first);
    loaded.value = true;
    failure.value = null;
  });
}

function showAttention(page) {
  attention.value = page.attention ?? [];
  attentionMore.value = page.attention_more ?? 0;
  topics.value = page.topics ?? [];
  restored.value = page.restored ?? '';
}

function remember(row) {
  if (row.settled_rate === null || row.settled_rate === undefined) return;
  let points = history.get(row.channel);
  if (!points) history.set(row.channel, points = []);
  points.push(row.settled_rate);
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
/** looking counts the looks that have no answer yet; beat looks when nothing changes, too. */
let looking = 0;
let beat = null;
/** beatGap is how far apart looks are while nothing changes, in ms. */
const beatGap = 15000;

function apply(kind, data) {
  batch(() => {
    switch (kind) {
      case 'rows': {
        const next = new Map(rows.value);
        for (const name of data.gone ?? []) { next.delete(name); history.delete(name); meanwhile?.set(name, null); }
        for (const row of data.rows ?? []) { next.set(row.channel, row); meanwhile?.set(row.channel, row); remember(row); }
        rows.value = next;
        if (data.totals) totals.value = data.totals;
        asOf.value = data.at;
        attentionDue ??= setTimeout(lookAtAttention, 2000);
        break;
      }
      case 'jobs':
        putJobs(data.jobs);
        break;
      case 'activity':
        activity.value = [...data.records].reverse().concat(activity.value).slice(0, 50);
        break;
      case 'attention':
        attentionDue ??= setTimeout(lookAtAttention, 0);
        break;
      case 'reload':
        reload();
    }
  });
}

/**
 * lookAtAttention asks what needs a person, at most every two seconds while something changes. It also tells whether
 * what is shown is still true: a stream whose server has lost the broker is just silent.
 */
async function lookAtAttention() {
  attentionDue = null;
  const look = ++looks;
  looking++;
  try {
    const page = await get('overview', { limit: 1 });
    if (look !== looks) return;
    if (held.value) pending.push(['attention', null]);
    else batch(() => { showAttention(page); asOf.value = page.at; failure.value = null; });
  } catch (e) {
    if (look === looks && (!e.status || e.status >= 500)) failure.value = e;
  } finally { looking--; }
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

/** listen opens the stream of what has changed since a time. */
function listen(since) {
  if (line.value !== 'lost') line.value = 'connecting';
  let fresh = true;
  source = new EventSource(eventsAddress(since));
  source.addEventListener('hello', () => {
    if (!fresh) take('reload', null); // what has gone meanwhile is not told
    fresh = false;
    line.value = 'live';
    came.value++;
  });
  for (const kind of ['rows', 'jobs', 'activity']) source.addEventListener(kind, (e) => take(kind, JSON.parse(e.data)));
  source.addEventListener('error', () => { fresh = false; lost(); });
  clearInterval(beat);
  beat = setInterval(() => { if (line.value === 'live' && !held.value && !document.hidden && !looking) lookAtAttention(); }, beatGap);
}

/** lost says so; the browser asks again by itself, but not after an answer that is no stream. */
function lost() {
  line.value = 'lost';
  if (source?.readyState !== EventSource.CLOSED) return;
  source = null;
  clearTimeout(again);
  again = setTimeout(comeBack, soon);
}

async function comeBack() {
  again = null;
  const mine = turn;
  try {
    const s = await get('session');
    if (mine !== turn) return;
    if (held.value && s.who === session.value.who && s.id === session.value.id) { // nothing moves
      take('reload', null);
      listen(asOf.value);
    } else accept(s);
  } catch { if (mine === turn) again = setTimeout(comeBack, soon); }
}

function stop() {
  clearTimeout(again);
  clearInterval(beat);
  again = null;
  turn++;
  source?.close();
  source = null;
  line.value = 'off';
}
