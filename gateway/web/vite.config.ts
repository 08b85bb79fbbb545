import { defineConfig, type Plugin } from 'vite';

/**
 * uPlot makes a number format of `navigator.language` while it loads, which throws on a tag like
 * `en-US@posix` (Chromium under LANG=C) and takes the whole chart along. Our axes bring their own
 * labels, so it needs none.
 */
const anyLanguage: Plugin = {
  name: 'uplot-any-language',
  transform(code, id) {
    if (!/\/uplot\/dist\/.*\.js/.test(id)) return null;
    const fixed = code.replace("new Intl.NumberFormat(domEnv ? nav.language : 'en-US')", '{ format: String }');
    if (fixed === code) throw new Error('uPlot has changed how it asks for the language; see vite.config.ts');
    return { code: fixed, map: null };
  },
};

export default defineConfig({
  plugins: [anyLanguage],
  // Bundled ahead of time, uPlot would miss the plugin above.
  optimizeDeps: { exclude: ['uplot'] },
  build: {
    // Two years of browsers, so an old wall tablet still works.
    target: ['chrome87', 'firefox84', 'safari14'],
    // The gateway's policy has no data: for fonts or scripts, so nothing may be inlined.
    assetsInlineLimit: 0,
    // The polyfill would be one more script for browsers that cannot run the page anyway.
    modulePreload: { polyfill: false },
    // scripts/finish.mjs looks up hashed names in it, and removes it.
    manifest: true,
    rolldownOptions: { input: ['index.html', 'login.html', 'claim.html'] },
  },
  // `npm run dev` shows the pages against a running gateway.
  server: {
    proxy: { '/api': 'http://127.0.0.1:8080', '/logout': 'http://127.0.0.1:8080' },
  },
});
