// The link that `casement claim` prints carries its secret behind the #, which browsers send to nobody.
(function () {
  var code = location.hash.slice(1);
  if (!code) return;
  // It must not stay in the address bar or the history.
  history.replaceState(null, '', location.pathname);
  document.getElementById('code').value = code;
  document.documentElement.dataset.claiming = '';
  document.querySelector('form').submit();
})();
