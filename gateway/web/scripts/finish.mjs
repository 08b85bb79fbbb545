// Finishes dist/ after Vite: the names early.js asks for, licence texts of what is inside, and a
// .br and .gz beside every text file, so that the gateway never compresses at run time. The two HTML files are templates the
// gateway fills in, so they stay as they are.

import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = new URL('../', import.meta.url).pathname;
const dist = join(root, 'dist');
const shipped = [
  'preact', '@preact/signals', '@preact/signals-core', 'uplot', '@fontsource/jost', 'esptool-js', 'pako', 'atob-lite', 'js-md5',
];

const manifest = JSON.parse(readFileSync(join(dist, '.vite/manifest.json'), 'utf8'));
const view = manifest['src/pages/room-view.tsx'];
if (view.css) throw new Error('the room view waits for a style sheet of its own; import it in styles/index.css');
const files = [`/${view.file}`];
const early = readFileSync(join(dist, 'early.js'), 'utf8');
if (!early.includes('var files = [];')) throw new Error('early.js has no place for the file names');
writeFileSync(join(dist, 'early.js'), early.replace('var files = [];', `var files = ${JSON.stringify(files)};`));
rmSync(join(dist, '.vite'), { recursive: true });

const licences = shipped.map((name) => {
  const folder = join(root, 'node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} has no licence file`);
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
});
writeFileSync(join(dist, 'licenses.txt'), licences.join(`\n${'-'.repeat(78)}\n\n`));

let count = 0;
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !/\.(js|css|svg|txt|webmanifest)$/.test(entry.name)) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const text = readFileSync(path);
  writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }));
  writeFileSync(`${path}.br`, brotliCompressSync(text, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length },
  }));
  count += 1;
}
console.log(`compressed ${count} files`);
