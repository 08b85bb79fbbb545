// A private gateway, and the way in.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open, page } from '../harness/browser.js';
import { Home, school } from '../harness/gateway.js';

test('a visitor signs in with a token and comes to the page they asked for', async (t) => {
  const { home, gateway } = await school(t, { dashboard: 'private' });
  const token = await home.createToken('read');
  const browser = await open(t);
  const tab = await page(browser, gateway);

  await tab.goto('/r/Lab?r=6h');
  await tab.waitForURL(/\/login/);
  assert.equal(await tab.locator('[data-room], [data-value]').count(), 0, 'nothing is shown to strangers');
  await tab.fill('input[name="token"]', 'cas_api_wrong');
  await tab.keyboard.press('Enter');
  await tab.waitForFunction(() => document.querySelector('[role="alert"]')?.textContent.trim());
  await tab.fill('input[name="token"]', token);
  await tab.keyboard.press('Enter');
  await tab.waitForURL(/\/r\/Lab\?r=6h$/);
  await tab.waitForSelector('[data-testid="chart"]');

  const cookies = await tab.context().cookies();
  assert.equal(cookies.length, 1);
  assert.ok(cookies[0].httpOnly && cookies[0].secure && cookies[0].sameSite !== 'None', JSON.stringify(cookies[0]));

  await tab.click('form[action="/logout"] button');
  await tab.waitForURL(/\/login/);
  await tab.goto('/');
  await tab.waitForURL(/\/login/);
  tab.clean(/401/);
});

test('a session that ends sends the page to the door', async (t) => {
  const home = new Home(t, { dashboard: 'private' });
  const device = await home.addDevice('lab', 'Lab');
  const token = await home.createToken('read');
  let gateway = await home.serve();
  home.keepPorts(gateway);
  await gateway.post(device, [{ co2: 500 }]);
  const browser = await open(t);
  const tab = await page(browser, gateway);
  await tab.goto('/login');
  await tab.fill('input[name="token"]', token);
  await tab.keyboard.press('Enter');
  await tab.waitForSelector('[data-room] [data-value]');
  // Devices have tokens, too; the visitor's is the one for reading.
  const row = JSON.parse(await home.run('token', 'list', '--json')).tokens.find(({ scope }) => scope === 'read');
  await home.run('token', 'revoke', String(row.id));
  // Following a link asks for readings, and the answer shows the door.
  await tab.click('[data-room="Lab"] a');
  await tab.waitForURL(/\/login\?next=%2Fr%2FLab$/);

  // A page that nobody touches finds out when its stream ends.
  await tab.fill('input[name="token"]', await home.createToken('read'));
  await tab.keyboard.press('Enter');
  await tab.waitForURL(/\/r\/Lab$/);
  await tab.waitForSelector('[data-connection="live"]', { state: 'attached' });
  for (const { id, scope } of JSON.parse(await home.run('token', 'list', '--json')).tokens) {
    if (scope === 'read' && id !== row.id) await home.run('token', 'revoke', String(id));
  }
  await gateway.kill();
  gateway = await home.serve();
  await tab.waitForURL(/\/login\?next=%2Fr%2FLab$/, { timeout: 10_000 });
  tab.clean(/401|ERR_|net::/);
});
