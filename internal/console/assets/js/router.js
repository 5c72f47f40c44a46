// Where the reader is: all of it is in the part of the address behind '#', filters too, so that a link shows the
// same to somebody else, and so that it works under any path.
import { signal } from '../vendor/ui.js';

/** @typedef {{path: string[], query: URLSearchParams}} Place */

function read() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  return { path: path.split('/').map((p) => { try { return decodeURIComponent(p); } catch { return p; } }), query: new URLSearchParams(query) };
}

/** place is where the reader is. @type {{value: Place}} */
export const place = signal(read());
addEventListener('hashchange', () => { place.value = read(); });

/** link returns the address of a page. */
export function link(path, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value);
  const text = set.length ? new URLSearchParams(set).toString() : ''; // a page may have a thousand links
  return '#/' + path.map(encodeURIComponent).join('/') + (text ? '?' + text : '');
}

export function go(path, query, { replace = false } = {}) {
  const to = link(path, query);
  if (replace) {
    history.replaceState(null, '', to);
    place.value = read();
  } else location.hash = to;
}

/** refine changes some of the filters of this page; what is empty is taken out. */
export function refine(changes) {
  const q = Object.fromEntries(place.value.query);
  go(place.value.path, { ...q, ...changes }, { replace: true });
}
