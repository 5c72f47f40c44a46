// The form: one field for each simple field of the schema, in the schema's groups and order. What a form says badly
// (rules, lists of objects) is left to the YAML beside it, and said so.
import { html, useId, useRef, useState } from '../../vendor/ui.js';
import { at, put, equal, join, names } from './paths.js';
import { visible } from '../format.js';

const plain = (v) => typeof v === 'object' && v !== null && !Array.isArray(v);
const simple = (s) => ['string', 'integer', 'number', 'boolean'].includes(s.type) || s.enum || (Array.isArray(s.type) && s.type.some((t) => ['string', 'integer', 'number'].includes(t))) || (s.type === 'array' && s.items?.type === 'string');

/** fieldsOf lists the fields of an object of the schema in their order; objects are gone into once. */
function fieldsOf(schema, prefix, draft) {
  const out = [];
  const needed = !prefix || prefix === 'connector.config' || at(draft, prefix) !== undefined;
  const required = new Set(needed ? schema?.required ?? [] : []);
  for (const [name, s] of Object.entries(schema?.properties ?? {})) {
    if (!prefix && (name === 'name' || name === 'connector')) continue;
    const path = join(prefix, name);
    const when = s['x-when'];
    if (when && !Object.entries(when).every(([f, values]) => { const v = at(draft, join(prefix, f)) ?? schema.properties[f]?.default; return values === true ? v !== undefined : [].concat(values).some((x) => x === v || String(x) === String(v)); })) continue;
    if (s.type === 'object' && s.properties && !s['x-when']) out.push(...fieldsOf(s, path, draft).map((f) => ({ ...f, group: s['x-group'] ?? f.group, order: (s['x-order'] ?? 0) + f.order / 1000 })));
    else if (simple(s)) out.push({ path, schema: s, group: s['x-group'] ?? 'Other', order: s['x-order'] ?? 0, required: required.has(name), advanced: !!s['x-advanced'] });
    else out.push({ path, schema: s, group: s['x-group'] ?? 'Other', order: s['x-order'] ?? 0, yaml: true, advanced: !!s['x-advanced'] });
  }
  return out;
}

// What is in use decides what stands under "More settings": a field that is typed in stays where it is.
export function Form({ draft, base, schema, kinds, errors, onChange }) {
  const kind = kinds.find((k) => k.name === draft.connector?.kind);
  const own = fieldsOf(schema, '', draft);
  const theirs = fieldsOf(kind?.schema, 'connector.config', draft);
  const set = (path, value) => onChange(put(draft, path, value));
  const former = useRef(new Map()); // the settings of each kind that was left, to come back to
  const choose = (e) => {
    const to = e.target.value;
    former.current.set(draft.connector?.kind, draft.connector);
    onChange(put(draft, 'connector', former.current.get(to) ?? (base.connector?.kind === to ? base.connector : { kind: to, config: {} })));
  };
  const groups = (list) => [...list.sort((a, b) => a.order - b.order).reduce((m, f) => m.set(f.group, [...(m.get(f.group) ?? []), f]), new Map())];
  const part = (title, list) => groups(list).map(([name, fields]) => html`<fieldset key=${title + name}><legend>${title}${name}</legend><div class="fields">${fields.filter((f) => !f.advanced || at(base, f.path) !== undefined).map((f) => html`<${Field} key=${f.path} f=${f} draft=${draft} base=${base} errors=${errors} set=${set} />`)}</div>
    ${fields.some((f) => f.advanced && at(base, f.path) === undefined) && html`<details><summary class="small">More settings</summary><div class="fields">${fields.filter((f) => f.advanced && at(base, f.path) === undefined).map((f) => html`<${Field} key=${f.path} f=${f} draft=${draft} base=${base} errors=${errors} set=${set} />`)}</div></details>`}</fieldset>`);
  return html`${part('', own)}
    <fieldset><legend>Connector</legend><div class="field"><label for="kind">Kind</label><select id="kind" onChange=${choose}>${kinds.map((k) => html`<option value=${k.name} selected=${k.name === draft.connector?.kind}>${k.name}: ${k.summary}</option>`)}</select>${kind && html`<p class="hint">Guard: ${kind.capabilities.guard}. Secrets are references, such as <code>\${env:NAME}</code>; workers resolve them, and nothing stores or shows them.</p>`}</div></fieldset>
    ${part('Connector: ', theirs)}`;
}

/** read makes a value of what was typed; undefined takes the field out. */
function read(schema, text) {
  if (text === '') return undefined;
  const types = [].concat(schema.type ?? []);
  if (types.includes('array')) return text.split('\n').filter((l) => l !== '');
  if ((types.includes('integer') || types.includes('number')) && /^-?\d+(\.\d+)?$/.test(text) && Number.isSafeInteger(Math.trunc(Number(text)))) return Number(text);
  if (schema.enum) return schema.enum.find((e) => String(e) === text) ?? text;
  return text;
}

function Field({ f, draft, base, errors, set }) {
  const id = useId();
  const [typed, setTyped] = useState(null); // the text while it is written: its value may be written in another way
  const { schema: s, path } = f;
  const value = at(draft, path);
  const old = at(base, path);
  const changed = !equal(value, old);
  const mine = errors.filter((e) => e.location.replace(/^body\.?/, '') === path);
  const [name, ...within] = names(path.replace(/^connector\.config\./, '')).reverse();
  const label = (path.startsWith('connector.') ? within.reverse().map((w) => w + ': ').join('') : '') + (s.title ?? name); // several objects have a URL
  const about = { id, 'aria-invalid': mine.length ? 'true' : undefined, 'aria-describedby': `${id}-hint`, required: f.required };
  const shown = typed ?? (Array.isArray(value) ? value.join('\n') : value ?? '');
  const text = { value: shown, onInput: (e) => { setTyped(e.target.value); set(path, read(s, e.target.value)); }, onBlur: () => setTyped(null) };
  let input;
  if (f.yaml || (plain(value) && !s.enum)) input = html`<p class="second small" id=${id}>${value === undefined ? 'Not set: the YAML beside sets it.' : 'Set in the YAML beside.'}</p>`;
  else if (s.type === 'boolean') input = html`<select ...${about} onChange=${(e) => set(path, e.target.value === '' ? undefined : e.target.value === 'true')}><option value="" selected=${value === undefined}>${s.default === undefined ? 'not set' : `default: ${s.default}`}</option><option value="true" selected=${value === true}>true</option><option value="false" selected=${value === false}>false</option></select>`;
  else if (s.enum) input = html`<select ...${about} onChange=${(e) => set(path, read(s, e.target.value))}><option value="" selected=${value === undefined}>${s.default === undefined ? 'not set' : `default: ${s.default}`}</option>${s.enum.map((e) => html`<option value=${e} selected=${value === e}>${e}</option>`)}</select>`;
  else if (s.format === 'jq' || s.type === 'array' || String(shown).includes('\n')) input = html`<textarea ...${about} class="mono" rows=${Math.max(2, String(shown).split('\n').length)} spellcheck=${false} ...${text}></textarea>`;
  else input = html`<input ...${about} type="text" class=${s['x-secret'] || s.format ? 'mono' : ''} spellcheck=${false} autocomplete="off" placeholder=${s.default !== undefined ? String(s.default) : s.examples?.[0] !== undefined ? `such as ${[].concat(s.examples[0])[0]}` : ''} ...${text} />`;
  const wide = s.format === 'jq' || s.type === 'array' || String(shown).length > 40;
  return html`<div class="field ${wide ? 'all' : ''}"><div class="row"><label for=${id}>${label}${f.required ? ' (needed)' : ''}</label>${changed && html`<span class="was small">was ${visible(old === undefined ? 'not set' : JSON.stringify(old).slice(0, 40))}</span>`}</div>${input}
    <p class="hint" id=${id + '-hint'}>${mine.map((e) => html`<span class="err">${visible(e.message)} </span>`)}${s.description?.split('. ')[0].replace(/\.$/, '')}.</p></div>`;
}
