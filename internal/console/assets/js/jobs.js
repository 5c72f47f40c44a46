// Jobs: a dry run with numbers that add up, then a job that the server runs, with progress and a stop.
import { html, useState, useEffect } from '../vendor/ui.js';
import { call, part } from './api.js';
import { jobs, may, putJobs } from './state.js';
import { Act, Command, Dialog, Failure, Loading, Note, Tally, Time, Undone } from './parts.js';
import { command } from './commands.js';
import { count, things, span, utc, visible, now } from './format.js';
import { actions, outcomeWords } from './words.js';

const shape = { delivered: ['send', 'good'], superseded: ['ahead', ''], discarded: ['close', 'stop'], failed: ['alert', 'stop'] };

/** commandOf is the command that makes the same job. */
export function commandOf(action, { letters, entities }, reason) {
  if (letters) {
    return command(['dead', action], { channel: letters.channel, key: letters.key, 'key-prefix': letters.prefix, outcome: letters.outcome, class: letters.class, code: letters.code, group: letters.group, reason, all: !Object.values(letters).some(Boolean), yes: true });
  }
  const some = entities.sync?.length || entities.health?.length || entities.why?.length || entities.older_than;
  return command(['resync', entities.channel ?? ''], { key: { each: entities.keys ?? [] }, 'key-prefix': entities.prefix, sync: entities.sync, health: entities.health, why: entities.why, 'older-than': entities.older_than, reason: some ? reason : '', yes: Boolean(some) });
}

/** Plan asks the server what a job would do, and starts it when the reader says so. of: {action, letters|entities}. */
export function Plan({ of, title, onClose, onStart }) {
  const [plan, setPlan] = useState(null);
  const [error, setError] = useState(null);
  const [reason, setReason] = useState('');
  const [busy, setBusy] = useState(false);
  const body = (dryRun) => ({ action: of.action, letters: of.letters, entities: of.entities, reason: reason.trim(), dry_run: dryRun });
  useEffect(() => { call('POST', 'jobs', { body: body(true) }).then((a) => setPlan(a.plan), setError); }, []);
  const must = of.action === 'discard';
  const start = async () => {
    setBusy(true);
    try {
      const { job } = await call('POST', 'jobs', { body: body(false) });
      putJobs([job]);
      onStart?.(job);
      onClose();
    } catch (e) { setError(e); setBusy(false); }
  };
  const what = of.letters ? 'letter' : 'key';
  // What was not looked at is tried, too.
  const n = (plan?.outcomes ?? []).filter((o) => ['delivered', 'discarded', 'not_looked_at'].includes(o.outcome)).reduce((sum, o) => sum + o.count, 0);
  const lines = plan?.outcomes.map((o) => ({ n: o.count, text: o.text, icon: shape[o.outcome]?.[0], tone: shape[o.outcome]?.[1] })) ?? [];
  if (plan && of.action !== 'discard') lines.push({ n: plan.goes_back, text: 'can go back', more: 'the ledger is asked again before each call', icon: 'in_sync' });
  const verb = actions[of.action];
  return html`<${Dialog} title=${title} onClose=${onClose}
      actions=${html`<${Act} tone=${of.action === 'discard' ? 'danger' : 'main'} disabled=${busy || !plan || n === 0 || (must && !reason.trim())} onClick=${start}>${plan ? `${verb} ${things(n, what)}` : verb}<//>`}>
    ${!plan && !error && html`<${Loading} rows="3" what="the dry run" />`}
    ${plan && html`<p class="second">This is what would happen. Nothing was ${of.action === 'discard' ? 'discarded' : 'sent'}. Looked at <time datetime=${plan.at}>${utc(new Date(plan.at)).slice(11)}</time>${plan.exact === false && ', and more may match'}.</p><${Tally} of=${lines} />${plan.note && html`<${Note} tone="wait" title=${visible(plan.note)} />`}
      <p class="second small">${plan.seconds ? `At the channel's rate this takes about ${span(plan.seconds)}. ` : ''}${must ? 'What is discarded cannot be brought back. ' : ''}It runs in the server: you can close this page, and stop it at any time.</p>`}
    <div class="field"><label for="reason">Reason, for the audit log${must ? ' (needed)' : ''}</label><input id="reason" type="text" data-first maxlength="300" value=${reason} onInput=${(e) => setReason(e.target.value)} /></div>
    <${Command} text=${commandOf(of.action, of, reason.trim())} /><${plan ? Undone : Failure} error=${error} what="It was not started" /><//>`;
}

const stateWords = { running: 'runs', stopping: 'stops after the one in hand', stopped: 'was stopped', done: 'is done', failed: 'failed' };

/** JobLine shows one job: how far it is, what came of it, and a button that stops it. */
export function JobLine({ of: j }) {
  const [error, setError] = useState(null);
  const stop = () => call('PUT', `jobs/${part(j.id)}/stop`).then((a) => putJobs([a.job ?? a]), setError);
  const runs = j.state === 'running' || j.state === 'stopping';
  const outcomes = Object.entries(j.outcomes ?? {}).filter(([, n]) => n).map(([word, n]) => `${count(n)} ${outcomeWords[word] ?? word}`);
  return html`<div class="job" data-job=${j.id}><div class="head"><h3>${actions[j.action] ?? j.action}${j.channel ? ` in ${j.channel}` : ''} ${stateWords[j.state] ?? j.state}</h3><span class="quiet small">by <bdi>${j.actor}</bdi>${j.reason ? html`, “<bdi>${visible(j.reason)}</bdi>”` : ''}, begun <${Time} at=${j.created} ago=${true} /></span>
      ${runs && may('operate') && html`<div class="push"><${Act} onClick=${stop} disabled=${j.state === 'stopping'}>Stop after this one<//></div>`}</div>
    ${runs && j.waits && html`<p class="small"><b>It waits:</b> ${visible(j.waits)}.</p>`}${runs && html`<progress max=${j.total || 1} value=${j.done} aria-label=${`${j.done} of ${j.total}`}></progress>`}
    <p class="small"><b>${count(j.done)} of ${count(j.total)}.</b> <span class="second">${outcomes.length ? outcomes.join(', ') + '. ' : ''}${runs && j.seconds_left ? `About ${span(j.seconds_left)} left. ` : ''}${runs ? 'What is done stays done if you stop.' : ''}</span></p>
    ${j.failures?.length > 0 && html`<details><summary class="small">The first that failed</summary><ul class="plainlist small">${j.failures.map((f) => html`<li><bdi>${visible(f)}</bdi></li>`)}</ul></details>`}
    <${Undone} error=${error} what="It was not stopped" /></div>`;
}

/** shownFor is for how long a job is shown that has ended, in ms; the activity has them all. */
const shownFor = 60000;
const over = (j) => j.state !== 'running' && j.state !== 'stopping';

/** Jobs shows those that run, and the last that have ended. They are spoken at most every ten seconds. */
export function Jobs({ channel, last = 2 }) {
  const all = jobs.value.filter((j) => !channel || j.channel === channel);
  const shown = all.filter((j) => !over(j)).concat(all.filter((j) => over(j) && now.value - Date.parse(j.ended ?? j.updated) < shownFor).slice(0, last));
  const [spoken, speak] = useState('');
  useEffect(() => {
    const t = setInterval(() => speak(jobs.value.filter((j) => j.state === 'running').map((j) => `${actions[j.action]}: ${j.done} of ${j.total}`).join('. ')), 10000);
    return () => clearInterval(t);
  }, []);
  if (shown.length === 0) return null;
  return html`<section class="card jobs" aria-label="Jobs"><span class="hide" role="status">${spoken}</span>${shown.map((j) => html`<${JobLine} key=${j.id} of=${j} />`)}</section>`;
}

