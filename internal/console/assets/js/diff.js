// A diff by field: what the channel would send now beside what the target holds. Each difference is a shape and a word.
import { html, useState } from '../vendor/ui.js';
import { Icon } from './icons.js';
import { Table, Cell, Note } from './parts.js';
import { visible, count, things } from './format.js';

const kinds = { changed: ['changed', 'changed'], only_ours: ['plus', 'only ours'], only_there: ['minus', 'only there'], equal: ['equal', 'equal'], ignored: ['filtered', 'ignored'], hidden: ['hidden', 'hidden'] };

/** Value writes a value of JSON; in changed texts what both sides share is not marked. */
function Value({ of, other, side, none }) {
  if (of === undefined) return html`<span class="quiet">${none}</span>`;
  const text = visible(JSON.stringify(of));
  const against = other === undefined ? null : visible(JSON.stringify(other));
  if (against === null || against === text) return html`<bdi>${text}</bdi>`;
  let a = 0;
  while (a < text.length && text[a] === against[a]) a++;
  let b = 0;
  while (b < text.length - a && b < against.length - a && text[text.length - 1 - b] === against[against.length - 1 - b]) b++;
  const Mark = side === 'ours' ? 'ins' : 'del';
  return html`<bdi>${text.slice(0, a)}<${Mark}>${text.slice(a, text.length - b)}<//>${text.slice(text.length - b)}</bdi>`;
}

export function Diff({ of: d }) {
  const [all, setAll] = useState(false);
  if (d.readable === false) return html`<div class="body"><${Note} title="The target cannot be read."><p>${d.why_not}</p><//></div>`;
  const fields = d.fields ?? [];
  const equal = fields.filter((f) => f.difference === 'equal').length;
  const shown = all ? fields : fields.filter((f) => f.difference !== 'equal');
  const held = d.target ?? {};
  return html`${held.found === false && html`<div class="body"><${Note} tone="wait" title="The target does not have this key." /></div>`}
    ${shown.length === 0 && held.found !== false && html`<div class="body"><${Note} tone="good" title=${`All ${things(equal, 'field is', 'fields are')} equal.`}><p>The target holds version <span class="mono">${held.version ?? 'unknown'}</span>.</p><//></div>`}
    ${equal > 0 && html`<p class="body small"><label class="tick"><input type="checkbox" checked=${all} onChange=${(e) => setAll(e.target.checked)} />Show ${count(equal)} equal ${equal === 1 ? 'field' : 'fields'}</label></p>`}
    ${shown.length > 0 && html`<${Table} label="Difference by field" heads=${['Field', `We would send now, version ${d.wanted?.version ?? 'none'}`, `The target holds, version ${held.version ?? 'unknown'}`, 'Difference']}>
      ${shown.map((f) => { const [icon, word] = kinds[f.difference] ?? ['info', f.difference]; return html`<tr key=${f.path} class="diff ${f.difference}"><${Cell} class="mono"><bdi>${visible(f.path)}</bdi><//><${Cell} of="We would send" class="mono ours">${f.difference === 'hidden' ? html`<span class="quiet">hidden${f.equal === true ? ', same on both sides' : ''}</span>` : html`<${Value} of=${f.ours} other=${f.theirs} side="ours" none="not there" />`}<//><${Cell} of="The target holds" class="mono theirs">${f.difference === 'hidden' ? html`<span class="quiet">hidden</span>` : html`<${Value} of=${f.theirs} other=${f.ours} side="theirs" none="not there" />`}<//><${Cell} of="Difference"><span class="mark"><${Icon} name=${icon} />${word}</span><//></tr>`; })}<//>`}
    ${d.fields_more > 0 && html`<p class="body second small">${count(d.fields_more)} more fields are not shown.</p>`}`;
}
