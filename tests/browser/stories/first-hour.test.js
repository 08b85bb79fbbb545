// The first hour of somebody who has a board and a gateway, with nothing played but the air and the bootloader: the real
// page and esptool-js write into the flash of the simulated device; its own Improv takes the settings, its own Mbed TLS
// trusts the gateway, its own sensor's driver measures. Without that program the story is skipped, which is said loudly.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { artifacts, figures, open, page } from '../harness/browser.js';
import { Device, program } from '../harness/device.js';
import { Home } from '../harness/gateway.js';

const ACTIONS_MAX = 6;
const NETWORK = 'Simulated';
const PASSWORD = 'correct horse';
/** Where a board looks for settings that were flashed (firmware/tools/partitions.py). */
const SETUP_AT = 0x3d0000;

/** Laid out as `firmware/tools/image` does: what a board keeps between table and program is as if erased. */
function image() {
  const bytes = Buffer.alloc(640_000, 0xff);
  for (let i = 0x10000, x = 7; i < 560_000; i++) {
    x = (x * 1103515245 + 12345) & 0x7fffffff;
    bytes[i] = i % 3 ? (x >> 16) & 0xff : 0x13;
  }
  bytes[0] = 0xe9;
  return bytes;
}

const phase = (tab, name, timeout = 60_000) => tab.waitForSelector(`main[data-phase="${name}"]`, { timeout });

async function skipped(t) {
  if (program()) return false;
  const why = '$CASEMENT_SIM names no simulated device (it needs the C compiler of firmware/tools/toolchain): from plug-in to live value was not tried with it';
  await mkdir(join(artifacts, 'skipped'), { recursive: true });
  await writeFile(join(artifacts, 'skipped/first_hour.txt'), `SKIPPED first hour: ${why}\n`);
  process.stderr.write(`SKIPPED first hour: ${why}\n`);
  t.skip(why);
  return true;
}

/** A gateway with firmware to give, an administrator's tab, and a simulated device on the cable. */
async function bench(t, options) {
  const home = new Home(t);
  const folder = join(home.dataDir, 'firmware/stamp-c3/0.1.0');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'flash.bin'), image());
  const gateway = await home.serve();
  const browser = await open(t);
  const tab = await page(browser, gateway);
  await tab.goto('/login');
  await tab.fill('input[name="token"]', await home.createToken('admin'));
  await tab.keyboard.press('Enter');
  await tab.waitForURL(({ pathname }) => pathname === '/');
  const there = join(home.folder, 'device');
  mkdirSync(there);
  const device = new Device(t, there, { password: PASSWORD, ...options });
  await device.plugInto(tab);
  await tab.goto('/');
  return { gateway, home, tab, device };
}

/** What the gateway has of the only device. */
async function latest(gateway) {
  const { devices } = JSON.parse((await gateway.fetch('/api/v1/devices')).text);
  assert.equal(devices.length, 1);
  return devices[0];
}

test('from plug-in to a live value with the whole simulated device, in at most six actions', async (t) => {
  if (await skipped(t)) return;
  const { gateway, tab, device } = await bench(t);
  const actions = [];
  const marks = [];
  const begun = performance.now();
  const act = async (what, doing) => {
    actions.push(what);
    await doing();
  };
  const mark = (what) => marks.push([what, `${((performance.now() - begun) / 1000).toFixed(1)} s`]);

  await act('opens “Add a device”', () => tab.locator('footer a[href="/flash"]').click());
  await tab.waitForSelector('#room');
  await act('types the room', () => tab.fill('#room', 'Room 101'));
  await act('clicks “Connect the board and install”', () => tab.locator('main button[type="submit"]').click());
  await phase(tab, 'installing');
  actions.push(...Array.from({ length: device.shown }, () => 'picks the port in the browser’s list'));
  await phase(tab, 'wifi');
  mark('written into its flash, started, networks heard');
  assert.equal(device.starts, 1, 'the reset after flashing started it');
  assert.equal(await tab.locator('#network').inputValue(), NETWORK, 'the network that the device hears is chosen already');
  await act('types the password', () => tab.keyboard.type(PASSWORD));
  await act('joins', () => tab.keyboard.press('Enter'));
  await phase(tab, 'waiting');
  mark('settings taken, gateway reached over TLS');
  assert.match(device.log, /new settings work/);
  await phase(tab, 'live');
  mark('first value on the page');

  assert.ok(actions.length <= ACTIONS_MAX, `${actions.length} actions: ${actions.join(', ')}`);
  assert.equal(device.starts, 1, 'nobody pressed a button');
  assert.deepEqual(device.complaints, []);
  const shown = Number(await tab.locator('[data-room="Room 101"] [data-value]').first().getAttribute('data-value'));
  const { id, room, presence } = await latest(gateway);
  assert.deepEqual({ id, room, presence }, { id: 'room-101', room: 'Room 101', presence: 'online' });
  const csv = (await gateway.fetch('/api/v1/readings?device=room-101&metric=co2&from=946684800000&to=4102444800000', { headers: { accept: 'text/csv' } })).text;
  const [head, ...rows] = csv.trim().split('\n').map((row) => row.trim().split(','));
  const values = rows.map((row) => Math.round(Number(row[head.indexOf('value')])));
  assert.ok(values.includes(shown), `the page shows ${shown}, the store has ${values}`);
  assert.ok(device.stored >= 1, device.log);
  // What hangs on the wall now.
  mkdirSync(join(artifacts, 'screenshots'), { recursive: true });
  copyFileSync(join(device.folder, 'screens/now.png'), join(artifacts, 'screenshots/first-hour-device.png'));
  await tab.screenshot({ path: join(artifacts, 'screenshots/first-hour-page.png'), fullPage: true });
  assert.ok(!device.log.includes(PASSWORD) && !device.log.includes('cas_dev_') && !gateway.log.includes('cas_dev_'), 'nobody logs a secret');
  await figures('first_hour', 'from plug-in to a live value, with the whole simulated device (bootloader played)', [
    ['actions', `${actions.length} (goal ${ACTIONS_MAX})`], ...actions.map((what, at) => [`  ${at + 1}`, what]), ...marks,
  ]);
  tab.clean();
});

test('settings that the page flashes are found at the next start, as on a board', async (t) => {
  if (await skipped(t)) return;
  const { gateway, tab, device } = await bench(t, { deaf: true });
  await tab.goto('/flash');
  await tab.fill('#room', 'Workshop');
  await tab.keyboard.press('Enter');
  await phase(tab, 'wifi');
  await tab.fill('#ssid', NETWORK);
  await tab.fill('#wifi-password', PASSWORD);
  await tab.keyboard.press('Enter');
  await phase(tab, 'waiting');
  assert.equal(device.flash.get(SETUP_AT).subarray(0, 4).toString(), 'CSET');
  await phase(tab, 'live');
  assert.equal((await latest(gateway)).room, 'Workshop');
  assert.ok(device.stored >= 1, device.log);
  tab.clean();
});

test('a gateway that the device cannot reach is told in the device’s own words, and the next attempt is one click', async (t) => {
  if (await skipped(t)) return;
  const { gateway, home, tab, device } = await bench(t);
  // The page reaches it once more, to add the device; the device does not.
  home.keepPorts(gateway);
  await tab.route('**/api/v1/flash/devices', async (route) => {
    const response = await route.fetch();
    await gateway.kill();
    await route.fulfill({ response });
  });
  await tab.goto('/flash');
  await tab.fill('#room', 'Attic');
  await tab.keyboard.press('Enter');
  await phase(tab, 'wifi');
  await tab.fill('#wifi-password', PASSWORD);
  await tab.keyboard.press('Enter');
  const box = tab.locator('[data-trouble="unreached"]');
  await box.waitFor({ timeout: 60_000 });
  assert.match(await box.innerText(), /does not get through.*The gateway does not answer\..*guest network/s);
  await tab.screenshot({ path: join(artifacts, 'screenshots/first-hour-unreached.png'), fullPage: true });
  const again = await home.serve();
  await tab.locator('button', { hasText: 'Join' }).click();
  await phase(tab, 'live');
  assert.equal((await latest(again)).room, 'Attic', 'the second attempt is no second device');
  assert.equal(device.starts, 1);
  tab.clean(/ERR_CONNECTION|Failed to (load|fetch)|EventSource/);
});
