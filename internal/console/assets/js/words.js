// The words and shapes of the two axes, and the order in which they matter.

/** What the target holds. */
export const syncWords = { in_sync: 'in sync', filtered: 'filtered', waiting: 'waiting', behind: 'behind', ahead: 'ahead', drifted: 'drifted', missing: 'missing', unknown: 'unknown' };

/** Whether it moves by itself. */
export const healthWords = { ok: 'ok', retrying: 'retrying', parked: 'parked', down: 'down', paused: 'paused', blocked: 'blocked', dead: 'dead', held: 'held' };

/** Four meanings: it is as it should be, it goes on by itself, somebody must act, somebody did this on purpose. */
export const healthTone = { ok: 'good', retrying: 'wait', parked: 'wait', down: 'wait', paused: 'hand', held: 'hand', blocked: 'stop', dead: 'stop' };
export const syncTone = { in_sync: 'good', filtered: 'idle', waiting: 'info', behind: 'wait', ahead: 'stop', drifted: 'stop', missing: 'stop', unknown: 'idle' };

/** syncOf is the word for what is not in sync of a channel, the one that matters most. */
export function syncOf(row) {
  return ['ahead', 'behind', 'waiting', 'unknown'].find((s) => row.sync?.[s]) ?? (row.sync && typeof row.keys === 'number' ? 'in_sync' : 'unknown');
}

/** isQuiet: there is nothing to say of a channel. */
export const isQuiet = (row) => row.health === 'ok' && !row.not_newest && !row.dead && syncOf(row) === 'in_sync';

/** The most urgent first. */
export const healthOrder = ['blocked', 'dead', 'down', 'parked', 'retrying', 'paused', 'held', 'ok'];

/** urgency orders channels: less is more urgent. */
export const urgency = (row) => healthOrder.indexOf(row.health);

/** What people call it when it is done. */
export const actions = { replay: 'Replay', discard: 'Discard', resync: 'Resync' };

export const outcomeWords = {
  delivered: 'delivered', superseded: 'superseded by newer versions', discarded: 'discarded', failed: 'failed', skipped: 'skipped: a newer version is on its way, or has an outcome', gone: 'resolved or removed by others meanwhile',
  under_way: 'still on their way', busy: 'left alone: another update of the key is on its way', pending: 'left alone: their update is still on its way', paused: 'not sent: their channel is paused', no_worker: 'not sent: no worker works on them',
  channel_deleted: 'not sent: their channel is deleted', malformed: 'not sent: they hold no update that can be read', not_looked_at: 'not looked at',
};
