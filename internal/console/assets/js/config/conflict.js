// Two editors in conflict: before, theirs and yours, field by field. Nothing is lost, and saving makes a new revision.
import { html, useState } from '../../vendor/ui.js';
import { Table, Cell } from '../parts.js';
import { changes, merge, at, equal } from './paths.js';
import { visible, things } from '../format.js';

const say = (v) => (v === undefined ? 'not there' : visible(typeof v === 'string' ? v : JSON.stringify(v)));

export function Conflict({ before, theirs, yours, onMerge }) {
  const [keep, setKeep] = useState(new Map());
  const a = changes(before.config, theirs.config);
  const b = changes(before.config, yours);
  const paths = [...new Set([...a, ...b].map((c) => c.path))].sort();
  const both = paths.filter((p) => a.some((c) => c.path === p) && b.some((c) => c.path === p) && !equal(at(theirs.config, p), at(yours, p)));
  const pick = (p, whose) => setKeep(new Map(keep).set(p, whose));
  return html`<section class="card alert" aria-label="Conflict" role="alert"><div class="head"><h2>Somebody saved revision ${theirs.revision} while you were editing revision ${before.revision ?? 'none'}</h2></div><div class="body"><p>Nothing of yours is lost. ${both.length ? `${things(both.length, 'field was', 'fields were')} changed by both of you: choose.` : 'You changed other fields than they did.'}</p></div>
    <${Table} label="Changes of both" heads=${['Field', `Before, revision ${before.revision ?? 'none'}`, `Theirs, revision ${theirs.revision}`, 'Yours', 'Keep']}>${paths.map((p) => html`<tr key=${p}><${Cell} class="mono">${p}<//><${Cell} of="Before" class="mono">${say(at(before.config, p))}<//><${Cell} of="Theirs" class="mono">${a.some((c) => c.path === p) ? say(at(theirs.config, p)) : html`<span class="quiet">not changed</span>`}<//><${Cell} of="Yours" class="mono">${b.some((c) => c.path === p) ? say(at(yours, p)) : html`<span class="quiet">not changed</span>`}<//>
      <${Cell} of="Keep">${both.includes(p) ? html`<fieldset class="row"><legend class="hide">${p}</legend>${['theirs', 'yours'].map((w) => html`<label class="tick"><input type="radio" name=${'keep-' + p} checked=${(keep.get(p) ?? 'yours') === w} onChange=${() => pick(p, w)} />${w}</label>`)}</fieldset>` : html`<span class="second">${b.some((c) => c.path === p) ? 'yours' : 'theirs'}, no conflict</span>`}<//></tr>`)}<//>
    <p class="body row"><button type="button" class="btn main" onClick=${() => onMerge(merge(before.config, theirs.config, yours, keep))}>Go on with both</button><span class="second small">Saving then makes a new revision on top of ${theirs.revision}.</span></p></section>`;
}
