// Records of the audit log, as sentences.
import { html } from '../vendor/ui.js';
import { ChannelLink, Time } from './parts.js';
import { Icon } from './icons.js';
import { visible } from './format.js';

const verbs = {
  'channel.put': 'changed', 'channel.apply': 'changed', 'channel.pause': 'paused', 'channel.resume': 'resumed', 'channel.delete': 'deleted', 'channel.restore': 'restored', 'channel.clone': 'cloned into', 'channel.purge': 'removed for good', 'channel.mend': 'mended the streams of', 'audit.repair': 'had keys repaired by an audit of', 'key.refs': 'changed references of a key of', 'channel.reload': 'had secrets read again of', 'channel.dry_run': 'ran a draft of', 'session.begin': 'logged in,', 'session.end': 'ended', 'job.end': 'ended a job on', 'channel.probe': 'had the target tried of',
  'dead_letter.replay': 'replayed a dead letter of', 'dead_letters.replay': 'replayed dead letters of', 'dead_letter.discard': 'discarded a dead letter of', 'dead_letters.discard': 'discarded dead letters of',
  'resync.start': 'began a resync of', 'resync.stop': 'stopped the resync of', 'resync.pause': 'paused the resync of', 'resync.resume': 'let the resync go on of', 'payload.read': 'looked at contents of', 'key.reset': 'reset a key of', 'key.give_up': 'gave an update up of', 'topic.put': 'changed', 'topic.delete': 'deleted', 'job.start': 'started a job on', 'job.stop': 'stopped a job on', 'token.create': 'made', 'token.revoke': 'revoked', 'session.revoke': 'ended',
};

/** sentence tells of a record in one sentence. */
export function sentence(r) {
  const [what, ...rest] = (r.target ?? '').split(' ');
  const name = rest.join(' ');
  const target = what === 'channel' && name && !name.includes(' ') ? html`<${ChannelLink} name=${name} />` : html`<bdi>${visible(r.target ?? '')}</bdi>`;
  const verb = verbs[r.action];
  return html`<b><bdi>${visible(r.actor)}</bdi></b> ${verb ?? html`<code>${r.action}</code>`} ${target}${r.result === 'failed' ? ', and it failed' : r.result === 'started' ? ', under way, or cut off' : ''}`;
}

export const Record = ({ of: r }) => html`<li class=${r.result === 'failed' ? 'stop' : 'hand'}><${Icon} name=${r.result === 'failed' ? 'alert' : 'person'} /><div><p>${sentence(r)}</p><p class="second small"><${Time} at=${r.at} ago=${true} />${r.reason && html`, “<bdi>${visible(r.reason)}</bdi>”`}${r.error && html`, <bdi>${visible(r.error)}</bdi>`}</p></div></li>`;
