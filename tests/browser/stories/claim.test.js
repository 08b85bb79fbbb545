// The first administrator opens the link that the server printed.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { artifacts, fits, open, page, themes } from '../harness/browser.js';
import { Home } from '../harness/gateway.js';

const link = async (home, gateway) => {
  const { pathname, hash } = new URL(await home.run('claim'));
  return `${gateway.url}${pathname}${hash}`;
};

test('a link leads to the dashboard, signed in, and leaves no trace of its secret', async (t) => {
  const home = new Home(t, { dashboard: 'private' });
  const gateway = await home.serve();
  const browser = await open(t);
  const tab = await page(browser, gateway);
  const asked = [];
  tab.on('request', (request) => asked.push(request.url()));
  const url = await link(home, gateway);
  const secret = new URL(url).hash.slice(1);
  await tab.goto(url, { waitUntil: 'commit' });
  await tab.waitForURL(`${gateway.url}/`);
  await tab.waitForSelector('form[action="/logout"] button');
  assert.ok(!asked.some((request) => request.includes(secret)), 'the secret was in an address');
  assert.ok(!(await tab.content()).includes(secret));
  await tab.goto('/flash');
  await tab.waitForSelector('main h1');
  await tab.goBack();
  await tab.goBack().catch(() => {});
  assert.ok(!tab.url().includes(secret), 'the history keeps the secret');
  tab.clean();

  // The same link a second time, in another browser.
  const other = await page(browser, gateway);
  await other.goto(url, { waitUntil: 'commit' });
  await other.waitForFunction(() => document.querySelector('[role="alert"]')?.textContent.includes('used already'));
  assert.ok(!other.url().includes(secret));
  // A new one, pasted, with the keyboard alone.
  await other.focus('input[name="code"]');
  await other.keyboard.insertText(await link(home, gateway));
  await other.keyboard.press('Enter');
  await other.waitForURL(`${gateway.url}/`);
  other.clean(/410/);
});

test('a link works without scripts, by hand', async (t) => {
  const home = new Home(t, { dashboard: 'private' });
  const gateway = await home.serve();
  const tab = await page(await open(t), gateway, { javaScriptEnabled: false });
  const url = await link(home, gateway);
  await tab.goto(url);
  await tab.fill('input[name="code"]', url);
  await tab.click('button[type="submit"]');
  await tab.waitForURL(`${gateway.url}/`);
  assert.equal((await tab.context().cookies()).length, 1);
});

test('what a bad link says fits a phone, in both themes', async (t) => {
  const home = new Home(t, { dashboard: 'private' });
  const gateway = await home.serve();
  const browser = await open(t);
  await mkdir(join(artifacts, 'screenshots'), { recursive: true });
  for (const theme of themes) {
    const tab = await page(browser, gateway, { theme, width: 360, height: 740 });
    await tab.goto('/claim#cas_clm_wrong', { waitUntil: 'commit' });
    await tab.waitForFunction(() => document.querySelector('[role="alert"]')?.textContent.includes('No such link'));
    await tab.screenshot({ path: join(artifacts, 'screenshots', `claim-wrong-${theme}-360.png`), fullPage: true });
    await fits(tab, `a bad link ${theme}`);
    tab.clean(/401/);
  }
});
