// What is wrong around the gateway, on a page of its own.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { artifacts, fits, open, page, themes, widths } from '../harness/browser.js';
import { Home } from '../harness/gateway.js';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

async function administrator(t, browser, gateway, home, options) {
  const tab = await page(browser, gateway, options);
  const { hash } = new URL(await home.run('claim'));
  await tab.goto(`/claim${hash}`, { waitUntil: 'commit' });
  await tab.waitForURL(`${gateway.url}/`);
  return tab;
}

test('an administrator reads the findings of doctor, in both themes and three widths', async (t) => {
  const home = new Home(t);
  const gateway = await home.serve();
  const browser = await open(t);
  await mkdir(join(artifacts, 'screenshots'), { recursive: true });
  const told = JSON.parse(await home.run('doctor', '--json').catch(({ stdout }) => stdout));
  for (const theme of themes) {
    for (const width of widths) {
      const tab = await administrator(t, browser, gateway, home, { theme, width });
      // By the link at the foot, as people come.
      await tab.click('footer a[href="/doctor"]');
      await tab.waitForSelector('[data-testid="verdict"]');
      const found = await tab.$$eval('[data-check]', (checks) => checks.map((check) => [check.dataset.check, check.dataset.status]));
      const expected = told.checks.filter(({ id }) => id !== 'configuration').map(({ id, status }) => [id, status]);
      assert.deepEqual(Object.fromEntries(found), Object.fromEntries(expected), 'page and command say the same');
      assert.ok(!found.some(([, status]) => status === 'problem') || await tab.locator('.finding-fix').count() > 0);
      await tab.click('details summary >> nth=0');
      await tab.screenshot({ path: join(artifacts, 'screenshots', `doctor-${theme}-${width}.png`), fullPage: true });
      await fits(tab, `doctor ${theme} ${width}`);
      await tab.evaluate(axe);
      const { violations } = await tab.evaluate(() => window.axe.run(document));
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes[0]?.html]), []);
      tab.clean();
      await tab.context().close();
    }
  }
});

test('who is no administrator is told how to become one, and without scripts there is a table', async (t) => {
  const home = new Home(t);
  const gateway = await home.serve();
  const browser = await open(t);
  const stranger = await page(browser, gateway);
  await stranger.goto('/doctor');
  await stranger.waitForFunction(() => document.querySelector('main')?.textContent.includes('casement claim'));
  assert.equal(await stranger.locator('[data-check]').count(), 0);
  stranger.clean(/401|403/);

  const tab = await page(browser, gateway, { javaScriptEnabled: false });
  const { hash } = new URL(await home.run('claim'));
  await tab.goto('/claim');
  await tab.fill('input[name="code"]', hash);
  await tab.click('button[type="submit"]');
  await tab.goto('/doctor');
  await tab.click('text=Look at everything now');
  assert.ok(await tab.locator('table tr').count() > 20);
});
