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
  if (!row.sync) return 'unknown';
  return ['ahead', 'behind', 'waiting', 'unknown'].find((s) => row.sync[s]) ?? 'in_sync';
}

/** copies is how many copies there are to keep: what the ledger knows, and what was published and has not come there yet. */
export const copies = (of) => Math.max(of.keys ?? 0, Object.values(of.sync ?? of.by_sync ?? {}).reduce((n, k) => n + k, 0), of.not_newest ?? 0);

/** The most urgent first. */
export const healthOrder = ['blocked', 'dead', 'down', 'parked', 'retrying', 'paused', 'held', 'ok'];

/** What people call it when it is done. */
export const actions = { replay: 'Replay', discard: 'Discard', resync: 'Resync' };

export const outcomeWords = {
  delivered: 'delivered', superseded: 'superseded by newer versions', busy: 'busy: another update of the key is on its way', gone: 'gone', resolved: 'resolved meanwhile',
  failed: 'failed', discarded: 'discarded', skipped: 'skipped', conflict: 'in conflict', dead_lettered: 'given up again',
};
