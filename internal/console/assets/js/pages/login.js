import { html, useState } from '../../vendor/ui.js';
import { login, logout, session } from '../state.js';
import { address } from '../api.js';
import { Note } from '../parts.js';

export function Login() {
  const s = session.value;
  const [token, setToken] = useState('');
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (e) => {
    e.preventDefault();
    setBusy(true);
    try { await login(token.trim()); } catch (x) { setError(x); } finally { setBusy(false); }
  };
  const oidc = s.login?.includes('oidc');
  return html`<main id="main" class="alone"><div class="card login"><div class="body">
    <h1>extsync${s.place ? html` <span class="quiet">${s.place}</span>` : ''}</h1>
    <p class="second">Log in to see which system holds which version.</p>
    ${s.stays && html`<${Note} tone="stop" role="alert" title="You may still be logged in."><p>The server was asked to log you out, and did not: ${s.stays.message}</p><p><button type="button" class="btn" onClick=${logout}>Log out again</button></p><//>`}
    ${oidc && html`<p><a class="btn main" href=${address('session/oidc', { to: location.hash })}>Log in with ${s.oidc_name || 'your organisation'}</a></p>`}
    <form onSubmit=${submit}><div class="field"><label for="token">Token</label>
      <input id="token" type="password" autocomplete="off" spellcheck=${false} placeholder="est_..." value=${token} required aria-invalid=${error ? 'true' : undefined} aria-describedby="token-hint" onInput=${(e) => { setToken(e.target.value); setError(null); }} />
      <p class="hint" id="token-hint">An administrator makes one with <code>extsync tokens create NAME --admin-key admin.key --scope read</code>. You stay logged in for 8 hours at most.</p></div>
      ${error && html`<${Note} tone="stop" role="alert" title=${error.status === 401 ? 'The token is unknown, revoked or has expired.' : 'You could not be logged in.'}><p>${error.status === 401 ? 'Ask whoever gave it to you for another.' : error.message}</p><//>`}
      <p><button type="submit" class="btn ${oidc ? '' : 'main'}" disabled=${busy}>Log in</button></p></form>
  </div></div></main>`;
}
