// The editor of a configuration: a form made from the schema and YAML side by side, one draft. It never overwrites what
// somebody else has saved meanwhile: both changes are shown field by field.
import { html, useState, useEffect, useMemo, useRef, effect } from '../../vendor/ui.js';
import { call, callFull, get, part } from '../api.js';
import { place, go } from '../router.js';
import { session } from '../state.js';
import { load, dump } from '../../vendor/yaml.js';
import { Card, Failure, Loading, Note, Copy, Command, Act, Dialog, Undone, useAsk } from '../parts.js';
import { command } from '../commands.js';
import { Form } from './form.js';
import { Conflict } from './conflict.js';
import { DryRun, History } from './tried.js';
import { count, visible } from '../format.js';
import { changes } from './paths.js';

const write = (draft) => dump(draft, { lineWidth: 100, noRefs: true, quotingType: '"' });

/** drafts are those that were left and not saved, by channel and what it is cloned from. Nobody sees another's. */
const drafts = new Map();
let whose = '';
effect(() => {
  const now = `${session.value?.who}/${session.value?.id}`;
  if (now !== whose) { whose = now; drafts.clear(); }
});

/** starting is the draft of a channel that is not there yet. */
const starting = (name) => ({ name, description: '', connector: { kind: 'http', config: {} } });

export function Config({ name, isNew }) {
  const from = place.value.query.get('from');
  const found = useAsk(async (signal) => {
    const kinds = get('connector-kinds', {}, signal);
    const schema = get('channel-schema', {}, signal);
    let base = null;
    let etag = null;
    if (!isNew || from) {
      const answer = await callFull('GET', `channels/${part(from ?? name)}`, { signal });
      base = answer.body.config;
      etag = from ? null : answer.etag;
      if (from) base = { ...base, name, paused: true };
    }
    return { id: `${name}/${from ?? ''}`, kinds: (await kinds).kinds, schema: await schema, base: base ?? starting(name), etag, revision: etag?.replaceAll('"', '') };
  }, [name]);
  if (!found.data) return found.error ? html`<${Failure} error=${found.error} retry=${found.again} />` : html`<${Loading} rows="8" what="the configuration" />`;
  return html`<${Editor} key=${found.data.etag} name=${name} of=${found.data} />`;
}

function Editor({ name, of }) {
  const left = drafts.get(of.id);
  const [draft, setDraft] = useState(left?.draft ?? of.base);
  const [base, setBase] = useState(left?.base ?? { config: of.base, etag: of.etag, revision: of.revision });
  const [text, setText] = useState(left?.text ?? write(of.base));
  const [bad, setBad] = useState(left?.bad ?? null);
  const [errors, setErrors] = useState([]);
  const [error, setError] = useState(null);
  const [theirs, setTheirs] = useState(null);
  const [saved, setSaved] = useState(null);
  const [saving, setSaving] = useState(false);
  const [unread, setUnread] = useState(null);
  const changed = useMemo(() => changes(base.config, draft), [base, draft]);
  useEffect(() => {
    if (changed.length || bad) drafts.set(of.id, { draft, base, text, bad });
    else drafts.delete(of.id);
  }, [draft, base, text, bad]);
  const byForm = (next) => { setDraft(next); setText(write(next)); setBad(null); setSaved(null); };
  const byText = (value) => {
    setText(value);
    setSaved(null);
    try {
      const parsed = load(value);
      if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error('It is not a configuration: fields and their values are expected');
      setDraft(parsed);
      setBad(null);
    } catch (e) { setBad(e); }
  };
  // What is wrong with the draft is asked of the server, while one writes.
  useEffect(() => {
    if (bad) return undefined;
    const stop = new AbortController();
    const t = setTimeout(() => call('PUT', `channels/${part(name)}`, { params: { dry_run: 'true' }, body: draft, signal: stop.signal }).then(() => setErrors([]), (e) => { if (e.name !== 'AbortError') setErrors(e.errors?.length ? e.errors : [{ location: '', message: e.message }]); }), 500);
    return () => { clearTimeout(t); stop.abort(); };
  }, [text, bad]);
  const latest = useRef();
  latest.current = text;
  const found = (now) => ({ config: now.body.config, etag: now.etag, revision: now.etag.replaceAll('"', '') });
  // readBack takes what is saved, as it is written there. What was typed meanwhile stays.
  const readBack = async (sent) => {
    setUnread(null);
    try {
      const now = found(await callFull('GET', `channels/${part(name)}`));
      setBase(now);
      if (latest.current === sent) { setDraft(now.config); setText(write(now.config)); }
    } catch (e) { setUnread(e); }
  };
  const save = async () => {
    setSaving(false);
    setError(null);
    let answer;
    try {
      answer = await callFull('PUT', `channels/${part(name)}`, { body: draft, headers: base.etag ? { 'If-Match': base.etag } : { 'If-None-Match': '*' } });
    } catch (e) {
      if (e.status !== 412) { setError(e); return; }
      await callFull('GET', `channels/${part(name)}`).then((now) => setTheirs(found(now)), setError);
      return;
    }
    drafts.delete(of.id); // whoever has left meanwhile finds what is saved
    setBase({ config: draft, etag: answer.etag, revision: answer.etag?.replaceAll('"', '') });
    setTheirs(null);
    setSaved({ ...answer.body, remakes: mapping });
    await readBack(text);
    if (place.value.query.get('new')) go(['channels', name, 'config'], {}, { replace: true });
  };
  const merge = (merged) => { setBase(theirs); byForm(merged); setTheirs(null); };
  const mapping = changed.some((c) => /^(mapping|filter|render|connector\.)/.test(c.path)) && base.etag;
  const canSave = changed.length > 0 || !base.etag;
  return html`${theirs && html`<${Conflict} before=${base} theirs=${theirs} yours=${draft} onMerge=${merge} />`}
    ${saved && html`<${Note} tone="good" role="status" title=${`Saved as revision ${saved.revision}.`}>${saved.remakes && html`<p>What the target holds was made by the configuration before.</p>`}<//>`}
    <${Undone} error=${error} what="It was not saved" />
    <${Failure} error=${unread} retry=${() => readBack(text)} what="It was saved, and could not be read back" />
    <div class="two editor"><${Card} title="Form" hint="made from the schema"><div class="body" inert=${!!bad}><${Form} draft=${draft} base=${base.config} schema=${of.schema} kinds=${of.kinds} errors=${errors} onChange=${byForm} /></div><//>
      <${Card} title="YAML" hint="the same draft; edit either side" right=${html`<${Copy} text=${text} />`}><div class="body">
        <div class="field"><label class="hide" for="yaml">Configuration as YAML</label><textarea id="yaml" class="mono yaml" rows=${Math.min(40, Math.max(16, text.split('\n').length + 1))} spellcheck=${false} value=${text} aria-invalid=${bad ? 'true' : undefined} aria-describedby="yaml-said" onInput=${(e) => byText(e.target.value)}></textarea></div>
        <div id="yaml-said" aria-live="polite">${bad ? html`<${Note} tone="stop" title="It is not valid YAML."><p>${bad.reason ?? bad.message}${bad.mark ? `, line ${bad.mark.line + 1}` : ''}. The form waits until it is.</p><//>` : errors.length > 0 ? html`<${Note} tone="stop" title="The server would refuse it."><ul>${errors.slice(0, 12).map((e) => html`<li><code>${e.location.replace(/^body\.?/, '')}</code> ${visible(e.message)}</li>`)}</ul><//>` : html`<p class="second small">${changed.length ? `${count(changed.length)} changed: ${changed.slice(0, 8).map((c) => c.path).join(', ')}` : 'Nothing is changed.'}</p>`}</div>
        ${mapping && html`<${Note} title="This changes what is sent."><p>Until a resync, keys that were delivered before are shown with the reason <code>mapping_changed</code>.</p><//>`}
        <${Command} text=${command(['channels', 'apply'], { file: name + '.yaml' })} />
        <p class="row"><${Act} tone="main" disabled=${!canSave || !!bad || errors.length > 0} onClick=${() => setSaving(true)}>Save${base.etag ? '' : ' the new channel'}…<//>${(changed.length > 0 || bad) && html`<button type="button" class="btn" onClick=${() => byForm(base.config)}>Undo my changes</button>`}</p></div><//></div>
    ${base.etag && html`<${DryRun} key=${base.etag + text} name=${name} draft=${draft} off=${!!bad || errors.length > 0} /><${History} name=${name} revision=${base.revision} onRevert=${(config) => byForm(config)} />`}
    ${saving && html`<${Dialog} title=${base.etag ? 'Save the changes?' : 'Make the channel?'} onClose=${() => setSaving(false)} actions=${html`<${Act} tone="main" onClick=${save}>${base.etag ? `Save ${count(changed.length)} ${changed.length === 1 ? 'change' : 'changes'}` : 'Make the channel'}<//>`}>
      ${changed.length > 0 ? html`<ul class="plainlist small">${changed.slice(0, 30).map((c) => html`<li><code>${c.path}</code>: ${visible(short(c.before))} → ${visible(short(c.after))}</li>`)}</ul>` : html`<p>It begins as the draft says${draft.paused ? ', paused' : ''}.</p>`}<p class="second small">The workers take it within a second. A history is kept: every revision can be brought back.</p><//>`}`;
}

const short = (v) => (v === undefined ? 'not there' : JSON.stringify(v)).slice(0, 120);
