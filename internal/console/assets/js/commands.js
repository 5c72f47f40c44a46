// The commands that do what the console does. Every one is tried by a test.

/** quote writes an argument for a shell. */
export const quote = (text) => (/^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`);

/** command joins words and flags; flags that are empty are left out, true ones have no value, and {each: list} is given once for each. */
export function command(words, flags = {}) {
  const dashed = words.findIndex((w) => w.startsWith('-')); // a key may begin so: it is no flag then
  const first = dashed < 0 ? words : words.slice(0, dashed);
  const out = ['extsync', ...first.map(quote)];
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined || value === null || value === '' || value === false || (Array.isArray(value) && value.length === 0)) continue;
    const given = value?.each ?? [value === true ? value : Array.isArray(value) ? value.join(',') : value];
    for (const one of given) out.push(one === true ? `--${name}` : `--${name}${String(one).startsWith('-') ? '=' : ' '}${quote(one)}`);
  }
  if (dashed >= 0) out.push('--', ...words.slice(dashed).map(quote));
  return out.join(' ');
}
