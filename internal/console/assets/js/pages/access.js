// Access: who may do what: the reader, tokens, sessions.
import { html, useState } from '../../vendor/ui.js';
import { call, get, part } from '../api.js';
import { session, may } from '../state.js';
import { Card, Time, Failure, Loading, Table, Cell, Note, Act, Command, Dialog, Undone, useAsk } from '../parts.js';
import { command } from '../commands.js';
import { visible, things } from '../format.js';

const scopes = [['read', 'states, errors and counts'], ['payload', 'contents; each look is in the audit log'], ['operate', 'pause, resume, replay, discard, resync'], ['configure', 'channels and topics'], ['admin', 'tokens, sessions, resets'], ['publish', 'updates']];

export function Access() {
  const s = session.value;
  return html`<div class="title"><div><h1>Access</h1><p>Who may do what. No right includes another.</p></div></div>
    <${Card} title="You"><div class="body"><dl class="facts"><div><dt>Known as</dt><dd><bdi>${visible(s.who)}</bdi></dd></div>${s.expires && html`<div><dt>Logged out</dt><dd><${Time} at=${s.expires} ahead=${true} /></dd></div>`}<div><dt>Limited to</dt><dd>${s.channels?.length || s.topics?.length ? [...(s.channels ?? []), ...(s.topics ?? []).map((t) => `topic ${t}`)].join(', ') : 'nothing: all channels and topics'}</dd></div></dl>
      <ul class="rights">${scopes.map(([name, what]) => html`<li class=${may(name) ? 'has' : ''}><span class="chip square ${may(name) ? 'good' : 'idle'}"><b>${name}</b></span><span class="second small">${what}${may(name) ? '' : ': not yours'}</span></li>`)}</ul>
      ${s.login === 'none' && html`<${Note} tone="wait" title="No token is asked for here."><p>Whoever may open this address may do everything. Give the publisher the public half of an administrators' key to have it ask for tokens.</p><${Command} text="extsync tokens key --out admin.key" /><//>`}</div><//>
    ${may('admin') && s.login !== 'none' ? html`<${Sessions} /><${Tokens} />` : s.login !== 'none' && html`<${Note} title="Tokens and sessions of others are for administrators."><p>They need the right <code>admin</code>.</p><//>`}`;
}

function Sessions() {
  const found = useAsk((s) => get('sessions', {}, s), []);
  const [end, setEnd] = useState(null);
  const [error, setError] = useState(null);
  const list = found.data?.sessions ?? [];
  return html`<${Card} title="Sessions" hint="in browsers; each ends after 8 hours at most"><${Failure} error=${found.error} retry=${found.again} /><${Undone} error=${error} what="The session was not ended" />${!found.data ? !found.error && html`<${Loading} rows="2" what="sessions" />` : html`<${Table} label="Sessions" heads=${['Who', 'From', { text: 'Since', class: 'num' }, { text: 'Ends', class: 'num' }, '']}>${list.map((x) => html`<tr key=${x.id}><${Cell}><bdi>${visible(x.who)}</bdi>${x.id === session.value.id && html` <span class="was small">this one</span>`}<//><${Cell} of="From" class="mono">${x.from}<//><${Cell} of="Since" class="num"><${Time} at=${x.since ?? x.created} ago=${true} /><//><${Cell} of="Ends" class="num"><${Time} at=${x.expires} ahead=${true} /><//><${Cell} class="num"><${Act} onClick=${() => setEnd(x)}>End…<//><//></tr>`)}<//>`}
    ${end && html`<${Dialog} title="End the session?" onClose=${() => setEnd(null)} actions=${html`<${Act} tone="danger" onClick=${() => call('DELETE', `sessions/${part(end.id)}`).then(() => { setEnd(null); setError(null); found.again(); }, (e) => { setEnd(null); setError(e); })}>End the session<//>`}><p><bdi>${visible(end.who)}</bdi> is logged out at once, and may log in again as long as the token is valid.</p><//>`}<//>`;
}

function Tokens() {
  const found = useAsk((s) => get('tokens', {}, s), []);
  const list = found.data?.tokens ?? [];
  return html`<${Card} title="Tokens" hint=${found.data ? things(list.length, 'token') : ''}><${Failure} error=${found.error} retry=${found.again} />${!found.data ? !found.error && html`<${Loading} rows="3" what="tokens" />` : html`<${Table} label="Tokens" heads=${['Token', 'Name', 'Rights', 'Limited to', { text: 'Made', class: 'num' }, { text: 'Expires', class: 'num' }]}>${list.slice(0, 200).map((t) => html`<tr key=${t.id} data-row tabindex="-1"><${Cell} class="mono">${t.id}<//><${Cell} of="Name"><bdi>${visible(t.name)}</bdi><//><${Cell} of="Rights">${(t.scopes ?? []).join(', ')}<//><${Cell} of="Limited to">${[...(t.channels ?? []), ...(t.topics ?? []).map((x) => `topic ${x}`)].join(', ') || html`<span class="quiet">nothing</span>`}<//><${Cell} of="Made" class="num"><${Time} at=${t.created} ago=${true} /><//><${Cell} of="Expires" class="num">${t.expires && !t.expires.startsWith('0001') ? html`<${Time} at=${t.expires} ahead=${true} />` : html`<span class="quiet">never</span>`}<//></tr>`)}<//>`}
    <div class="body"><p class="second">This server can check tokens and cannot make any: the administrators' key is with you. A token is shown once, when it is made.</p><${Command} text=${command(['tokens', 'create', 'NAME'], { 'admin-key': 'admin.key', scope: 'read' })} /><${Command} text=${command(['tokens', 'revoke', 'ID'], { 'admin-key': 'admin.key' })} /></div><//>`;
}
