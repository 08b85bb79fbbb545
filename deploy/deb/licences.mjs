#!/usr/bin/env node
// Prints whose work is in the program: every Rust crate and every package of its pages, with licence and notices.
//
//   licences.mjs FOLDER        where `npm ci` has installed the packages of gateway/web
//
// The crates come from `cargo tree`: what is built for this machine, without tools of the build. A part that has no
// licence text is named with its licence alone.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const run = (program, ...args) => execFileSync(program, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });

/** Texts of a folder that say who may do what: LICENSE, COPYING, NOTICE and the like. */
function texts(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^(licen[cs]e|copying|notice|unlicense|copyright)/i.test(entry.name))
    .map((entry) => readFileSync(join(folder, entry.name), 'utf8').replaceAll('\r', '').trim())
    .filter((text) => text !== '');
}

const metadata = JSON.parse(run('cargo', 'metadata', '--locked', '--format-version', '1'));
const tree = run('cargo', 'tree', '--locked', '-p', 'casement', '-e', 'normal', '--prefix', 'none', '-f', '{p}');
const built = new Set(tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' ').replace(' v', ' ')));
const parts = metadata.packages
  .filter((crate) => crate.source !== null && built.has(`${crate.name} ${crate.version}`))
  .map((crate) => ({
    name: `${crate.name} ${crate.version}`,
    licence: crate.license ?? 'see below',
    by: crate.authors.join(', '),
    texts: texts(join(crate.manifest_path, '..')),
  }));
if (parts.length < 50) throw new Error(`only ${parts.length} crates were found`);

const web = process.argv[2];
const lock = JSON.parse(readFileSync(join(web, 'package-lock.json'), 'utf8'));
for (const [place, entry] of Object.entries(lock.packages)) {
  if (place === '' || entry.dev || entry.optional) continue;
  const folder = join(web, place);
  const name = `${place.replace(/^.*node_modules\//, '')} ${entry.version} (pages)`;
  if (!existsSync(folder)) throw new Error(`${name} is not installed in ${web}`);
  parts.push({ name, licence: entry.license ?? 'see below', by: '', texts: texts(folder) });
}

parts.sort((a, b) => a.name.localeCompare(b.name, 'en'));
const known = new Map();
const lines = ['Parts of Casement that others have written', ''];
for (const part of parts) {
  const numbers = part.texts.map((text) => {
    if (!known.has(text)) known.set(text, known.size + 1);
    return `[${known.get(text)}]`;
  });
  lines.push(part.name, `  licence: ${part.licence}${numbers.length > 0 ? `; texts ${numbers.join(' ')}` : ''}`);
  if (part.by !== '') lines.push(`  authors: ${part.by}`);
}
for (const [text, number] of known) lines.push('', `${'-'.repeat(100)} [${number}]`, '', text);
process.stdout.write(`${lines.join('\n')}\n`);
