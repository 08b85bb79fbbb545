// The pages that a device serves itself, from the simulated device: the set-up form in its own network, as a phone shows it,
// and its page in the local network. $CASEMENT_SIM names the program (firmware/sim).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { artifacts, fits, open, page, themes } from '../harness/browser.js';

const shots = join(artifacts, 'screenshots');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const sim = process.env.CASEMENT_SIM;
const skip = sim && existsSync(sim) ? false : 'SKIPPED: $CASEMENT_SIM names no simulated device, its own pages were not looked at';
// Phones lie between these; the last one is a tablet.
const WIDTHS = [320, 390, 768];
const NETWORKS = ['Lindenschule=correct horse', 'Gäste', 'FRITZ!Box 7590 KX=12345678', 'DIRECT-4a-HP OfficeJet Pro 8020=12345678'];

const cleanups = [];
const shared = { after: (undo) => cleanups.push(undo) };
let browser;
before(async () => {
  if (!skip) {
    browser = await open(shared);
    await mkdir(shots, { recursive: true });
    return;
  }
  mkdirSync(join(artifacts, 'skipped'), { recursive: true });
  writeFileSync(join(artifacts, 'skipped/device-pages.txt'), `${skip}\n`);
});
after(async () => {
  for (const undo of cleanups) await undo();
});

/** A fresh device, and where its pages are. */
async function device() {
  const folder = mkdtempSync(join(tmpdir(), 'casement-device-'));
  const networks = NETWORKS.flatMap((network) => ['--network', network]);
  const child = spawn(sim, ['--flash', join(folder, 'flash.bin'), '--page', '127.0.0.1:0', ...networks], { stdio: ['ignore', 'ignore', 'pipe'] });
  cleanups.push(() => { child.kill('SIGKILL'); rmSync(folder, { recursive: true }); });
  for await (const line of createInterface({ input: child.stderr })) {
    const url = /^pages at (http:\S+)$/.exec(line)?.[1];
    if (url) {
      child.stderr.resume();
      return { url };
    }
  }
  throw new Error('the device did not start');
}

/** Nobody is kept out, nothing is cut off, nothing complains, in both themes. */
async function look(home, name, ready) {
  for (const theme of themes) {
    for (const width of WIDTHS) {
      const tab = await page(browser, home, { theme, width, height: 780 });
      await tab.goto('/');
      await tab.waitForSelector(ready);
      const what = `${name} ${theme} ${width}`;
      await tab.screenshot({ path: join(shots, `${name}-${theme}-${width}.png`), fullPage: true });
      await fits(tab, what);
      // Through the debugger, because the page's own policy would refuse an injected script.
      await tab.evaluate(axe);
      const { violations } = await tab.evaluate(() => axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
      }));
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`), [], what);
      tab.clean();
      await tab.context().close();
    }
  }
}

test('a phone sets a device up: the form, a wrong password in words, the right one, then the page', { skip }, async () => {
  const home = await device();
  await look(home, 'device-setup', 'form');
  const tab = await page(browser, home, { width: 390, height: 780 });
  await tab.goto('/hotspot-detect.html');
  await tab.getByLabel('Lindenschule').check();
  await tab.getByLabel('Password of the Wi-Fi').fill('wrong horse');
  await tab.getByRole('button', { name: 'Connect' }).click();
  await tab.getByRole('heading', { name: 'Connecting to “Lindenschule”' }).waitFor();
  await tab.screenshot({ path: join(shots, 'device-trying-light-390.png'), fullPage: true });
  // The device is busy until the trial is over; then it says what came of it.
  await tab.goto('/');
  await tab.getByText('the network refuses the password').waitFor();
  assert.equal(await tab.getByLabel('Lindenschule').isChecked(), true, 'what was chosen is chosen again');
  assert.equal(await tab.getByLabel('Password of the Wi-Fi').inputValue(), '', 'no password comes back');
  await look(home, 'device-refused', '[role=alert]');
  await tab.getByLabel('Password of the Wi-Fi').fill('correct horse');
  await tab.keyboard.press('Enter');
  await tab.getByRole('heading', { name: 'Connecting to “Lindenschule”' }).waitFor();
  await tab.goto('/');
  await tab.getByText('ppm CO₂').waitFor();
  tab.clean();
  await tab.context().close();
  await look(home, 'device-page', '.air');
  const json = await (await fetch(`${home.url}json`)).json();
  assert.ok(json.timestamp > 1_700_000_000 && json.co2 > 300, JSON.stringify(json));
});
