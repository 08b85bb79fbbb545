// Runs before anything is painted; the pages themselves are modules and come later.
(function () {
  // The theme the visitor chose. Without a choice (or with storage switched off) the style sheet
  // follows the system.
  try {
    var theme = localStorage.getItem('casement-theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch (_) {}

  // A room page needs one more file. Asking for it here saves the round trip in which the first
  // file would find that out. scripts/finish.mjs writes the names.
  var files = [];
  if (location.pathname.indexOf('/r/') !== 0) return;
  files.forEach(function (file) {
    var link = document.createElement('link');
    link.rel = 'modulepreload';
    link.href = file;
    document.head.appendChild(link);
  });
})();
