import { defineConfig } from 'vite';

export default defineConfig({
  build: {
    // Two years of browsers, so an old wall tablet still works.
    target: ['chrome87', 'firefox84', 'safari14'],
    // The gateway's policy has no data: for fonts or scripts, so nothing may be inlined.
    assetsInlineLimit: 0,
    // The polyfill would be one more script for browsers that cannot run the page anyway.
    modulePreload: { polyfill: false },
    // scripts/finish.mjs looks up hashed names in it, and removes it.
    manifest: true,
    rolldownOptions: { input: ['index.html', 'login.html'] },
  },
  // `npm run dev` shows the pages against a running gateway.
  server: {
    proxy: { '/api': 'http://127.0.0.1:8080', '/logout': 'http://127.0.0.1:8080' },
  },
});
