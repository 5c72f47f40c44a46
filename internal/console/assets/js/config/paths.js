// Values at paths of a configuration: objects are gone into, lists and all else are one value. A name that has dots is
// quoted in a path, as text in JSON is.

const plain = (v) => typeof v === 'object' && v !== null && !Array.isArray(v);

/** join puts a name behind a path. */
export const join = (path, name) => (path ? path + '.' : '') + (/^[^."]+$/.test(name) ? name : JSON.stringify(name));

/** names takes a path apart. */
export const names = (path) => (path.match(/"(?:[^"\\]|\\.)*"|[^.]+/g) ?? []).map((n) => (n[0] === '"' ? JSON.parse(n) : n));

/** equal compares two values of JSON, whatever the order of fields. */
export function equal(a, b) {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => equal(x, b[i]));
  if (!plain(a) || !plain(b)) return false;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((n) => equal(a[n], b[n]));
}

/** flat lists the values of a configuration by path. */
export function flat(config, at = '', out = new Map()) {
  for (const [name, value] of Object.entries(config ?? {})) {
    const path = join(at, name);
    if (plain(value) && Object.keys(value).length > 0) flat(value, path, out);
    else out.set(path, value);
  }
  return out;
}

/** changes lists what differs between two configurations. */
export function changes(before, after) {
  const a = flat(before);
  const b = flat(after);
  return [...new Set([...a.keys(), ...b.keys()])].filter((p) => !equal(a.get(p), b.get(p))).sort().map((path) => ({ path, before: a.get(path), after: b.get(path) }));
}

export function at(config, path) {
  return names(path).reduce((o, name) => (plain(o) ? o[name] : undefined), config);
}

/** put returns a configuration with another value at a path; undefined takes it out, with objects that it leaves empty. */
export function put(config, path, value) {
  return putAt(config, names(path), value);
}

function putAt(config, [name, ...rest], value) {
  const out = plain(config) ? { ...config } : {};
  if (rest.length) {
    const inner = putAt(out[name], rest, value);
    if (Object.keys(inner).length === 0 && value === undefined && name !== 'config') delete out[name];
    else out[name] = inner;
  } else if (value === undefined) delete out[name];
  else out[name] = value;
  return out;
}

/** merge brings two changes of one configuration together; keep says, for each path that both changed, whose it is. */
export function merge(before, theirs, yours, keep) {
  let out = theirs;
  for (const c of changes(before, yours)) {
    const other = changes(before, theirs).some((t) => t.path === c.path);
    if (!other || keep.get(c.path) !== 'theirs') out = put(out, c.path, c.after);
  }
  return out;
}
