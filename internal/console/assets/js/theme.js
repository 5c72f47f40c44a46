// Sets the theme before the first paint: the choice is the reader's, and the system's where there is none.
(() => {
  let theme = '';
  try { theme = localStorage.getItem('extsync.theme') ?? ''; } catch { /* storage is off */ }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
