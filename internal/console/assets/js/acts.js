// What can be done to a channel or a key: each act with its right, its sentence and its command.
import { html, useState } from '../vendor/ui.js';
import { call, part } from './api.js';
import { may } from './state.js';
import { Act, Command, Dialog, Undone } from './parts.js';
import { link } from './router.js';
import { command } from './commands.js';
import { visible } from './format.js';

/** tried says what came of a probe, by partition. Where calls flow nothing is tried. */
function tried({ partitions }) {
  const by = new Map();
  for (const p of partitions.filter((x) => x.circuit !== 'closed')) {
    const why = p.error || [`circuit ${p.circuit || 'not known'}`, p.reason].filter(Boolean).join(', ');
    by.set(why, [...(by.get(why) ?? []), p.partition]);
  }
  return by.size ? [...by].map(([why, list]) => `Partition ${list.join(', ')}: ${visible(why)}.`).join(' ') : 'Calls flow.';
}

/** Steps that are taken with a channel. */
export const steps = {
  pause: { name: 'Pause', does: 'Holds deliveries back. Updates are accepted and kept.', scope: 'operate', run: (c) => call('PUT', `channels/${part(c)}/pause`), command: (c) => command(['channels', 'pause', c]) },
  resume: { name: 'Resume', does: 'Lets deliveries go on, with the newest version of each key.', scope: 'operate', run: (c) => call('PUT', `channels/${part(c)}/resume`), command: (c) => command(['channels', 'resume', c]) },
  probe: { name: 'Try now', does: 'Tries the target at once, with one update that waits.', scope: 'operate', run: (c) => call('POST', `channels/${part(c)}/probe`), said: tried, command: (c) => command(['channels', 'probe', c]) },
  reload: { name: 'Read secrets again', does: 'Has the workers read the secrets of the channel again.', scope: 'operate', run: (c) => call('PUT', `channels/${part(c)}/reload`), command: (c) => command(['channels', 'reload', c]) },
};

/** Done is a button that does one thing at once, and says how that went. */
export function Done({ name, run, tone = '', said = 'Done.' }) {
  const [state, set] = useState({});
  const click = async () => {
    set({ busy: true });
    try { const out = await run(); set({ said: typeof said === 'function' ? said(out) : said }); } catch (error) { set({ error }); }
  };
  return html`<${Act} tone=${tone} onClick=${click} disabled=${state.busy}>${name}<//><span class="said small" role="status">${state.said}</span><${Undone} error=${state.error} />`;
}

/** Step is an act on a channel with its sentence and its command. */
export function Step({ step, channel }) {
  const s = steps[step];
  if (!may(s.scope)) return null;
  return html`<div class="act"><div><h3>${s.name}</h3><p class="second small">${s.does}</p></div><div class="do"><${Done} name=${s.name} run=${() => s.run(channel)} said=${s.said} /></div><${Command} text=${s.command(channel)} /></div>`;
}

/** NextStep is the button of a reason: what one would do next, if one may. */
export function NextStep({ of: a }) {
  switch (a.act) {
    case 'probe': return may('operate') && html`<${Done} name="Try now" run=${() => steps.probe.run(a.channel)} said=${tried} />`;
    case 'resume': return may('operate') && html`<${Done} name="Resume" run=${() => steps.resume.run(a.channel)} said="Resumed." />`;
    case 'dead': return html`<a class="btn" href=${link(['dead'], { channel: a.channel })}>See the reasons</a>`;
    case 'audit': return html`<a class="btn" href=${link(['keys'], { channel: a.channel, why: a.why })}>See the keys</a>`;
    case 'resync': return html`<a class="btn" href=${link(['channels', a.channel, 'resync'])}>Plan a resync</a>`;
    case 'workers': return html`<a class="btn" href=${link(['workers'])}>See the workers</a>`;
    case 'config': return html`<a class="btn" href=${link(['channels', a.channel, may('configure') ? 'config' : ''].filter(Boolean))}>${may('configure') ? 'Edit the channel' : 'See the channel'}</a>`;
    default: return html`<a class="btn" href=${link(['channels', a.channel])}>See the channel</a>`;
  }
}

/** TypeToConfirm asks for a name before what cannot be undone. */
export function TypeToConfirm({ title, text, name, button, run, onClose, command: cmd }) {
  const [typed, setTyped] = useState('');
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = async () => { setBusy(true); try { await run(); onClose(true); } catch (e) { setError(e); setBusy(false); } };
  return html`<${Dialog} title=${title} onClose=${() => onClose(false)} actions=${html`<${Act} tone="danger" disabled=${busy || typed !== name} onClick=${go}>${button}<//>`}>
    <p>${text}</p><div class="field"><label for="confirm">Type <code>${name}</code> to confirm</label><input id="confirm" class="mono" type="text" data-first autocomplete="off" spellcheck=${false} value=${typed} onInput=${(e) => setTyped(e.target.value)} /></div>
    ${cmd && html`<${Command} text=${cmd} />`}<${Undone} error=${error} /><//>`;
}
