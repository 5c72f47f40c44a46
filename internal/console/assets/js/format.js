// How numbers, times and names are written. Counts are whole ("1,950"), shares are rounded down, names are never touched.
import { signal } from '../vendor/ui.js';

/** count writes a number of things. To make an Intl.NumberFormat takes up to a tenth of the time of the first page. */
export const count = (n) => String(Math.round(n ?? 0)).replace(/\B(?=(\d{3})+$)/g, ',');

/** things writes a number with its word: "1 key", "2 keys". */
export const things = (n, one, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`;

/** rate writes updates a second. */
export function rate(x) {
  if (x === null || x === undefined) return 'not known';
  if (!x) return '0/s';
  return (x < 10 ? (Math.round(x * 10) / 10 || '<0.1') : count(x)) + '/s';
}

/** share writes a part of a whole in per cent with two decimals, rounded down: 99.999 % is not 100 %. */
export function share(part, all) {
  if (!all) return 'none';
  return (Math.floor((part / all) * 10000) / 100).toFixed(2) + ' %';
}

/** span writes a time span given in seconds: "41 s", "14 min", "3 h 12 min", "2 d". */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return m < 10 && s % 60 ? `${m} min ${s % 60} s` : `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 10 && m % 60) return `${h} h ${m % 60} min`;
  return h < 48 ? `${h} h` : `${Math.floor(h / 24)} d`;
}

/** bytes writes a size. */
export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  let x = n ?? 0;
  while (x >= 1024 && i < units.length - 1) { x /= 1024; i++; }
  return `${i && x < 10 ? x.toFixed(1) : Math.round(x)} ${units[i]}`;
}

/** times is how times are shown: relative, utc or local. It is the reader's choice, kept by the browser. */
export const times = signal(stored('extsync.times', 'relative'));
/** now goes on once a second, for times that are relative. */
export const now = signal(Date.now());
setInterval(() => { if (!document.hidden) now.value = Date.now(); }, 1000);

export function stored(name, without) {
  try { return localStorage.getItem(name) ?? without; } catch { return without; }
}
export function store(name, value) {
  try { localStorage.setItem(name, value); } catch { /* the choice lasts as long as the page */ }
}

const two = (n) => String(n).padStart(2, '0');

/** utc writes the exact time. */
export function utc(date) {
  return `${date.getUTCFullYear()}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())} ${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} UTC`;
}

export function local(date) {
  const off = -date.getTimezoneOffset();
  const zone = `${off < 0 ? '-' : '+'}${two(Math.floor(Math.abs(off) / 60))}:${two(Math.abs(off) % 60)}`;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${zone}`;
}

/** middle shortens a long name in its middle, by characters that people see. */
export function middle(text, most = 80) {
  const all = Array.from(text);
  if (all.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return all.slice(0, half).join('') + '…' + all.slice(all.length - half).join('');
}

/** visible writes out the marks that turn text around or hide in it. */
export function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
    (c) => '\\u' + c.codePointAt(0).toString(16).padStart(4, '0'));
}
