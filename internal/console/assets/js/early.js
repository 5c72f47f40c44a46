// What is begun before the modules are there: the theme, which is the reader's choice and must be set before the first
// paint, and the first two questions, whose answers come while the modules do.
(() => {
  let theme = '';
  try { theme = localStorage.getItem('extsync.theme') ?? ''; } catch { /* storage is off */ }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;

  const ask = (path) => fetch(new URL('../v1/' + path, document.baseURI), { signal: AbortSignal.timeout(90000), credentials: 'same-origin', headers: { Accept: 'application/json' } });
  const session = ask('session');
  // Who is not logged in, or may not read, would be refused.
  const overview = session.then((answer) => answer.clone().json()).then((s) => (s.scopes?.includes('read') ? ask('overview?limit=200') : null));
  /** early are answers by what was asked, null for one that was not; api.js takes each once. */
  globalThis.early = { session, 'overview?limit=200': overview.catch(() => null) };
  session.catch(() => {}); // who takes it says so
})();
