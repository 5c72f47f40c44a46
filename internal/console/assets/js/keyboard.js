// The keyboard: single keys outside of fields, which can be switched off.
import { signal } from '../vendor/ui.js';
import { go } from './router.js';
import { held, hold } from './state.js';
import { stored } from './format.js';

export const shortcuts = signal(stored('extsync.shortcuts', 'on') !== 'off');
export const helpOpen = signal(false);

const places = { o: [], k: ['keys'], c: ['channels'], d: ['dead'], w: ['workers'], a: ['activity'], s: ['access'] };
let leading = 0; // until when a letter belongs to a 'g' before it

const rows = () => [...document.querySelectorAll('main [data-row]')].filter((r) => r.checkVisibility());

function step(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((r) => r.contains(document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
  next.focus();
  next.scrollIntoView({ block: 'nearest' });
}

const current = () => document.activeElement?.closest?.('[data-row]');

export function startKeyboard() {
  addEventListener('keydown', (e) => {
    if (!shortcuts.value || e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
    const t = e.target;
    if (t.closest?.('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]')) return;
    const done = () => { e.preventDefault(); leading = 0; };
    if (leading > Date.now()) {
      const to = places[e.key];
      leading = 0;
      if (to) { e.preventDefault(); go(to); }
      return;
    }
    switch (e.key) {
      case '/': done(); document.getElementById('search')?.focus(); break;
      case 'g': leading = Date.now() + 1500; break;
      case 'j': done(); step(1); break;
      case 'k': done(); step(-1); break;
      case 'x': { const box = current()?.querySelector('input[type=checkbox]'); if (box) { done(); box.click(); } break; }
      case '*': { const all = document.querySelector('[data-all]'); if (all) { done(); all.click(); } break; }
      case 'Enter': if (t.matches?.('[data-row]:not(a, summary)')) { done(); t.querySelector('a, summary, button')?.click(); } break;
      case '.': done(); hold(!held.value); break;
      case '?': done(); helpOpen.value = true; break;
      default:
    }
  });
}
