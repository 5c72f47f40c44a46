// Calls of the HTTP API. Addresses are relative to the page, so that it works behind a proxy that puts it under a path
// of its own.

const root = new URL('../v1/', document.baseURI);

/** Problem is an answer that is no success. */
export class Problem extends Error {
  /** @param {number} status 0: there was no answer. @param {string} method @param {any} body */
  constructor(status, method, body) {
    super(body?.detail || body?.title || `the server answered ${status}`);
    this.status = status;
    /** What was asked for may have been done all the same: the answer was lost on its way. */
    this.maybe = method !== 'GET' && [0, 502, 504].includes(status);
    this.reason = body?.reason ?? '';
    this.body = body ?? {};
    /** @type {{location: string, message: string}[]} */
    this.errors = body?.errors ?? [];
  }
}

/** What is called when the server says that nobody is logged in; turn changes with the login. */
export const onLoggedOut = { call: () => {}, turn: 0 };

/** patience is for how long an answer is waited for, in ms. */
const patience = 90000;

/** address returns the address of a route. Parameters that are empty are left out; lists are joined with commas. */
export function address(path, params = {}) {
  const url = new URL(path, root);
  for (const [name, value] of Object.entries(params)) {
    const text = Array.isArray(value) ? value.join(',') : value;
    if (text !== undefined && text !== null && text !== '' && text !== false) url.searchParams.set(name, text);
  }
  return url;
}

/**
 * part makes a part of a path of a name or a key. Browsers take one of dots only for a step up, however it is written: it
 * would be another address.
 */
export function part(text) {
  if (text === '.' || text === '..') throw new Problem(400, 'GET', { detail: `A browser cannot ask for the key "${text}": 'extsync get' can.` });
  return encodeURIComponent(text).replaceAll('.', '%2E');
}

/**
 * call asks the API.
 * @param {string} method
 * @param {string} path relative to /v1/
 * @param {{params?: object, body?: any, headers?: object, signal?: AbortSignal, exact?: boolean}} [o] exact: numbers
 *   stay as they are written, for what is shown only
 * @returns {Promise<any>} the answer's document; its ETag is in `.etag` of what `callFull` returns
 */
export async function call(method, path, o = {}) {
  return (await callFull(method, path, o)).body;
}

/** early returns what was asked before this module was there, once; null or undefined: it was not. */
function early(method, url) {
  const asked = globalThis.early ?? {};
  const name = method === 'GET' ? url.href.slice(root.href.length) : '';
  const answer = asked[name];
  delete asked[name];
  return answer;
}

/** asWritten keeps a number that JavaScript would write in another way. */
const asWritten = (_, v, { source }) => (typeof v === 'number' && String(v) !== source ? JSON.rawJSON(source) : v);

export async function callFull(method, path, { params, body, headers = {}, signal, exact } = {}) {
  const late = AbortSignal.timeout(patience);
  const of = onLoggedOut.turn;
  const init = { method, signal: signal ? AbortSignal.any([signal, late]) : late, credentials: 'same-origin', headers: { Accept: 'application/json', ...headers } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers['Content-Type'] = 'application/json';
  }
  let answer;
  let text;
  try {
    const url = address(path, params);
    answer = (await early(method, url)) ?? (await fetch(url, init));
    text = await answer.text();
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    if (e.name === 'TimeoutError') throw new Problem(0, method, { detail: `The server has not answered within ${patience / 1000} s. What was asked for may have been done all the same: look before you try again.`, reason: 'no_answer' });
    throw new Problem(0, method, { detail: 'The server does not answer. What is shown may be old.', reason: 'unreachable' });
  }
  let parsed = null;
  try { parsed = text ? JSON.parse(text, exact && JSON.rawJSON ? asWritten : undefined) : null; } catch { /* not JSON: the status says enough */ }
  if (!answer.ok) {
    if (answer.status === 401 && of === onLoggedOut.turn) onLoggedOut.call(); // not of the login before
    throw new Problem(answer.status, method, parsed);
  }
  return { body: parsed, etag: answer.headers.get('ETag'), status: answer.status };
}

export const get = (path, params, signal) => call('GET', path, { params, signal });
export const eventsAddress = (since) => address('events', { since }).href;
