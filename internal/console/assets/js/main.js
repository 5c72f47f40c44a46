// The console: it loads the session, and shows the page that the address names.
import { html, render, useEffect } from '../vendor/ui.js';
import { place } from './router.js';
import { session, may, loadSession } from './state.js';
import { Shell } from './shell.js';
import { Failure, Loading, Note, useAsk, Empty } from './parts.js';
import { visible } from './format.js';
import { startKeyboard } from './keyboard.js';
import { Overview } from './pages/overview.js';

// The other pages are loaded when somebody goes there.
const later = {
  login: () => import('./pages/login.js').then((m) => m.Login),
  keys: () => import('./pages/keys.js').then((m) => m.Keys),
  key: () => import('./pages/key.js').then((m) => m.KeyPage),
  channels: () => import('./pages/channels.js').then((m) => m.Channels),
  channel: () => import('./pages/channel.js').then((m) => m.Channel),
  dead: () => import('./pages/dead.js').then((m) => m.Dead),
  workers: () => import('./pages/workers.js').then((m) => m.Workers),
  activity: () => import('./pages/activity.js').then((m) => m.Activity),
  access: () => import('./pages/access.js').then((m) => m.Access),
};

const titles = { '': 'Overview', keys: 'Keys', key: 'Key', channels: 'Channels', channel: 'Channel', dead: 'Dead letters', workers: 'Workers', activity: 'Activity', access: 'Access' };

function pageOf(path) {
  if (path[0] === 'channels' && path[1]) return 'channel';
  return path[0] in titles ? path[0] : 'nowhere';
}

/** Later shows a page whose module is loaded first. */
function Later({ page }) {
  // Where it does not come, the server is away, and is asked again.
  const { data, error, again } = useAsk(() => later[page]().then((view) => ({ view }), (e) => { throw Object.assign(e, { status: 0 }); }), [page]);
  const frame = (what) => (page === 'login' ? html`<main id="main" class="alone">${what}</main>` : what);
  if (error) return frame(html`<${Failure} error=${error} retry=${again} what="The page could not be loaded" />`);
  if (!data) return frame(html`<${Loading} what=${titles[page] ?? 'the login'} />`);
  // Nothing of one key or channel is left on the page of the next.
  return html`<${data.view} key=${page === 'login' ? page : place.value.path.slice(0, page === 'channel' ? 2 : undefined).join('/')} />`;
}

function App() {
  const s = session.value;
  const page = pageOf(place.value.path);
  const what = page === 'channel' || page === 'key' ? place.value.path[1] : titles[page] ?? 'Not found';
  useEffect(() => { document.title = `${visible(what)} - extsync`; }, [what]);
  useEffect(() => { scrollTo(0, 0); }, [place.value.path.join('/')]);
  if (!s) return html`<${Starting} />`;
  if (!s.who) return html`<${Later} page="login" />`;
  return html`<${Shell} key=${`${s.who}/${s.id}`} page=${page === 'channel' ? 'channels' : page === 'key' ? 'keys' : page}>
    ${!may('read') && page !== 'access' ? html`<${Unread} />` : page === '' ? html`<${Overview} />` : page === 'nowhere' ? html`<h1>Not found</h1><${Empty} title="There is no such page."><p><a href="#/">Go to the overview</a></p><//>` : html`<${Later} key=${page} page=${page} />`}
  <//>`;
}

/** Unread is shown to whoever may do something, but not look. */
const Unread = () => html`<h1>extsync</h1><${Note} tone="wait" title="You need the right to read."><p>Every page needs <code>read</code>. <a href="#/access">See what you may do</a>; an administrator makes a token that has more rights.</p><//>`;

function Starting() {
  const { error, again } = useAsk(loadSession, []);
  useEffect(() => { if (!error) return undefined; const t = setTimeout(again, 3000); return () => clearTimeout(t); }, [error]);
  return html`<main id="main" class="alone">${error ? html`<${Failure} error=${error} retry=${again} what="The console could not start" />` : html`<${Loading} what="the console" />`}</main>`;
}

startKeyboard();
render(html`<${App} />`, document.getElementById('app'));
