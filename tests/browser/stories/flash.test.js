// From the cable to the first value: the real page, esptool-js and gateway; a board that is played by ../harness/board.js.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Board } from '../harness/board.js';
import { artifacts, figures, fits, open, page, themes, widths } from '../harness/browser.js';
import { Home } from '../harness/gateway.js';

const shots = join(artifacts, 'screenshots');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const ACTIONS_MAX = 6;
const WEIGHT_MAX = 130_000;
const PASSWORD = 'correct horse';

/** What stands for firmware: as large as the real one, and about as dense. */
const FIRMWARE = Buffer.alloc(640_000, 0xff);
for (let i = 0, x = 7; i < 560_000; i++) {
  x = (x * 1103515245 + 12345) & 0x7fffffff;
  FIRMWARE[i] = i % 3 ? (x >> 16) & 0xff : 0x13;
}
FIRMWARE[0] = 0xe9;

const cleanups = [];
const shared = { after: (undo) => cleanups.push(undo) };
let home;
let gateway;
let browser;
let session;
before(async () => {
  await mkdir(shots, { recursive: true });
  home = new Home(shared);
  for (const [version, bytes] of [['0.0.9', Buffer.from('an older one')], ['0.1.0', FIRMWARE]]) {
    const folder = join(home.dataDir, 'firmware/stamp-c3', version);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'flash.bin'), bytes);
  }
  gateway = await home.serve();
  browser = await open(shared);
  const token = await home.createToken('admin');
  const tab = await page(browser, gateway);
  await tab.goto('/login');
  await tab.fill('input[name="token"]', token);
  await tab.keyboard.press('Enter');
  await tab.waitForURL(({ pathname }) => pathname === '/');
  session = await tab.context().storageState();
  await tab.context().close();
});
after(async () => {
  for (const undo of cleanups) await undo();
});

const settled = (tab) => tab.evaluate(() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))));

/** A tab of an administrator with a board on a cable. */
async function bench(test, board = {}, options = {}) {
  const tab = await page(browser, gateway, { storageState: session, ...options });
  test.after(() => tab.context().close());
  const plugged = new Board(test, { password: PASSWORD, ...board });
  await plugged.plugInto(tab);
  const sent = [];
  tab.on('request', (asked) => sent.push({ url: asked.url(), body: asked.postData() ?? '' }));
  return { tab, board: plugged, sent };
}

const phase = (tab, name, timeout = 30_000) => tab.waitForSelector(`main[data-phase="${name}"]`, { timeout });

/** What the device does once it has been told: it trusts what it was given, and sends what it measures. */
function measure({ gateway: url, token, ca }, reading) {
  const pem = new X509Certificate(Buffer.from(ca, 'hex')).toString();
  return new Promise((done, fail) => {
    const call = request(`${url}/api/v1/readings`, {
      method: 'POST', ca: pem, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    }, (answer) => {
      answer.resume();
      answer.on('end', () => done(answer.statusCode));
    });
    call.on('error', fail);
    call.end(JSON.stringify({ boot: 1, readings: [{ seq: 0, age_ms: 0, ...reading }] }));
  });
}

async function looksRight(tab, what) {
  await settled(tab);
  await fits(tab, what);
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
  }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes[0].html} ${nodes[0].failureSummary}`), [], what);
}

/** The same moment in three widths. */
async function everyWidth(tab, theme, name) {
  for (const width of widths) {
    await tab.setViewportSize({ width, height: 800 });
    // What moves comes to rest: only then two pictures can be compared.
    await tab.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect.getTiming().iterations !== Infinity).map((a) => a.finished.catch(() => undefined))));
    await looksRight(tab, `${name} ${theme} ${width}`);
    await tab.screenshot({ path: join(shots, `flash-${name}-${theme}-${width}.png`), fullPage: true });
  }
}

test('from plug-in to a live value in at most six actions', async (t) => {
  const { tab, board, sent } = await bench(t);
  const actions = [];
  const act = async (what, doing) => {
    actions.push(what);
    await doing();
  };
  await tab.goto('/');
  const begun = performance.now();
  // Bytes of scripts and styles as they came; what the cache had counts, too.
  const weight = () => tab.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => /\.(js|css)$/.test(name))
    .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0));
  const marks = [];
  const mark = (what) => marks.push([what, `${Math.round(performance.now() - begun)} ms`]);

  await act('opens “Add a device”', () => tab.locator('footer a[href="/flash"]').click());
  await tab.waitForSelector('#room');
  const empty = await weight();
  await act('types the room', () => tab.fill('#room', 'Room 101'));
  await act('clicks “Connect the board and install”', () => tab.locator('main button[type="submit"]').click());
  await phase(tab, 'installing');
  actions.push(...Array.from({ length: board.shown }, () => 'picks the port in the browser’s list'));
  mark('board recognised');
  await phase(tab, 'wifi', 60_000);
  mark('installed, started, networks heard');
  assert.equal(await tab.locator('#network').inputValue(), 'Schule', 'the strongest network is chosen already');
  assert.deepEqual(await tab.locator('#network option').allInnerTexts(), ['Schule (strong)', 'Gäste (fair, open)', 'Another network…']);
  await act('types the password', () => tab.keyboard.type(PASSWORD));
  await act('joins', () => tab.keyboard.press('Enter'));
  const told = await board.settings();
  mark('settings taken, Wi-Fi joined');
  await phase(tab, 'waiting');
  assert.equal(await measure(told, { co2: 612, temperature: 21.4, humidity: 41 }), 200, 'the device trusts the gateway and is known to it');
  await phase(tab, 'live');
  await tab.waitForSelector('[data-room="Room 101"] [data-value="612"]');
  mark('first value on the page');
  const whole = await weight();
  assert.ok(whole > empty && whole <= WEIGHT_MAX, `${whole} bytes of scripts and styles`);

  assert.ok(actions.length <= ACTIONS_MAX, `${actions.length} actions: ${actions.join(', ')}`);
  assert.deepEqual(board.flash.get(0), FIRMWARE, 'every byte of the newest image is on the board');
  assert.deepEqual(board.complaints, []);
  assert.ok(board.opened.includes(921_600), `at ${board.opened}`);
  const { device, room, ssid, gateway: url } = told;
  assert.deepEqual({ device, room, ssid, url }, { device: 'room-101', room: 'Room 101', ssid: 'Schule', url: gateway.url });
  const own = new X509Certificate(readFileSync(join(home.dataDir, 'certs/own-authority.pem')));
  assert.equal(told.ca, own.raw.toString('hex'));
  assert.ok(!sent.some(({ url: to, body }) => `${to}${body}`.includes(PASSWORD)), 'the password of the Wi-Fi goes to the device and nowhere else');
  assert.ok(!gateway.log.includes(told.token) && !gateway.log.includes('cas_dev_'), 'the token is not logged');
  await figures('flash', 'from plug-in to a live value, with a stand-in for the board', [
    ['actions', `${actions.length} (goal ${ACTIONS_MAX})`], ...actions.map((what, at) => [`  ${at + 1}`, what]), ...marks,
    ['scripts and styles of the page', `${empty} bytes`], ['with what flashes', `${whole} bytes (goal ${WEIGHT_MAX})`],
  ]);
  tab.clean();
});

for (const theme of themes) {
  test(`every step, ${theme}: no axe violation, nothing cut off in three widths`, async (t) => {
    let go;
    const held = new Promise((done) => { go = done; });
    const { tab, board } = await bench(t, { beforeBlock: (block, of) => (block === Math.ceil(of * 0.55) ? held : undefined) }, { theme });
    const room = `Library ${theme}`;
    await tab.goto('/flash');
    await tab.waitForSelector('#room');
    await everyWidth(tab, theme, 'room');
    await tab.fill('#room', room);
    await tab.keyboard.press('Enter');
    await tab.waitForFunction(() => document.querySelector('progress')?.value > 0.4);
    await everyWidth(tab, theme, 'installing');
    go();
    await phase(tab, 'wifi', 60_000);
    await everyWidth(tab, theme, 'wifi');
    await tab.fill('#wifi-password', 'wrong horse');
    await tab.keyboard.press('Enter');
    await tab.waitForSelector('[data-trouble="wifi"]');
    await everyWidth(tab, theme, 'wrong-password');
    // Neither a new start nor a new cable: another password is all.
    await tab.fill('#wifi-password', PASSWORD);
    await tab.keyboard.press('Enter');
    const told = await board.settings();
    await phase(tab, 'waiting');
    await everyWidth(tab, theme, 'waiting');
    assert.equal(await measure(told, { co2: 1120, temperature: 22.5, humidity: 44 }), 200);
    await phase(tab, 'live');
    await everyWidth(tab, theme, 'live');
    const { devices } = JSON.parse((await gateway.fetch('/api/v1/devices')).text);
    assert.equal(devices.filter((device) => device.room === room).length, 1, 'a second password is no second device');
    tab.clean();
  });
}

test('what goes wrong is said in plain words, with what helps', async (t) => {
  for (const [name, board, words] of [
    ['cancelled', { nothing: true }, /No board was picked.*cable/s],
    ['busy', { busy: true }, /port is in use.*close it/is],
    ['silent', { mute: true }, /does not answer.*button/is],
    ['unknownBoard', { chip: 'esp32c99' }, /no firmware for this board/i],
    ['noImage', { chip: 'esp32c6' }, /no firmware for this board.*flash\.bin/is],
    ['damaged', { worn: true }, /not what was sent.*cable/is],
  ]) {
    const { tab } = await bench(t, board);
    await tab.goto('/flash');
    await tab.fill('#room', 'Attic');
    await tab.keyboard.press('Enter');
    const box = tab.locator(`[data-trouble="${name}"]`);
    await box.waitFor({ timeout: 60_000 });
    assert.match(await box.innerText(), words, name);
    await phase(tab, 'room');
    assert.equal(await tab.locator('#room').inputValue(), 'Attic', 'what was typed is not typed again');
    if (name === 'silent') await tab.screenshot({ path: join(shots, 'flash-silent-light-1280.png'), fullPage: true });
    tab.clean();
    await tab.context().close();
  }
  const { devices } = JSON.parse((await gateway.fetch('/api/v1/devices')).text);
  assert.ok(!devices.some((device) => device.room === 'Attic'), 'no device was added for a board that never came');
});

test('a cable that comes off is noticed at once, and the way goes on from there', async (t) => {
  let unplugged = false;
  const { tab, board } = await bench(t, { beforeBlock: async (block, of) => {
    if (unplugged || block < of / 2) return;
    unplugged = true;
    await board.unplug();
  } });
  await tab.goto('/flash');
  await tab.fill('#room', 'Cellar');
  await tab.keyboard.press('Enter');
  await tab.waitForSelector('[data-trouble="unplugged"]', { timeout: 20_000 });
  assert.match(await tab.locator('[data-trouble]').innerText(), /Plug it in again/);
  board.off = false;
  await tab.locator('main button[type="submit"]').click();
  await phase(tab, 'wifi', 60_000);
  assert.deepEqual(board.flash.get(0), FIRMWARE);
  tab.clean();
});

test('a board that runs Casement is set up without being written', async (t) => {
  const { tab, board } = await bench(t);
  await tab.goto('/flash');
  await tab.fill('#room', 'Gym');
  await tab.locator('button', { hasText: 'already' }).click();
  await phase(tab, 'wifi');
  await tab.selectOption('#network', 'Gäste');
  assert.equal(await tab.locator('#wifi-password').count(), 0, 'an open network has no password');
  await tab.locator('button', { hasText: 'Join' }).click();
  assert.equal((await board.settings()).ssid, 'Gäste');
  assert.equal(board.flash.size, 0);
  tab.clean();
});

test('firmware that does not talk over the cable finds its settings in flash', async (t) => {
  const { tab, board } = await bench(t, { deaf: true });
  await tab.goto('/flash');
  await tab.fill('#room', 'Workshop');
  await tab.keyboard.press('Enter');
  await phase(tab, 'wifi', 60_000);
  assert.match(await tab.locator('main').innerText(), /does not list the networks/);
  await tab.fill('#ssid', 'Hidden');
  await tab.fill('#wifi-password', PASSWORD);
  await looksRight(tab, 'without a list of networks');
  await tab.screenshot({ path: join(shots, 'flash-blind-light-1280.png'), fullPage: true });
  await tab.keyboard.press('Enter');
  await phase(tab, 'waiting', 30_000);
  const sector = board.flash.get(0x3d0000);
  assert.equal(sector.length, 4096);
  assert.equal(sector.subarray(0, 4).toString(), 'CSET');
  const length = 8 + sector.readUInt16LE(6) + 4;
  assert.ok(sector.subarray(length).every((byte) => byte === 0xff), 'the rest is as if erased');
  assert.ok(sector.includes(PASSWORD) && sector.includes(gateway.url));
  const token = sector.toString('latin1').match(/cas_dev_[0-9a-f]{64}/)[0];
  const ca = new X509Certificate(readFileSync(join(home.dataDir, 'certs/own-authority.pem'))).raw.toString('hex');
  assert.equal(await measure({ gateway: gateway.url, token, ca }, { co2: 700 }), 200);
  await phase(tab, 'live');
  tab.clean();
});

test('serial ports are open to this page and to no other; who may not add devices is told so', async (t) => {
  const { tab } = await bench(t);
  const may = () => tab.evaluate(() => document.featurePolicy.allowsFeature('serial'));
  await tab.goto('/');
  assert.equal(await may(), false);
  await tab.locator('footer a[href="/flash"]').click();
  await tab.waitForSelector('#room');
  assert.equal(await may(), true, 'a link leads to a document of its own');
  const stranger = await page(browser, gateway);
  t.after(() => stranger.context().close());
  await stranger.goto('/flash');
  await stranger.waitForSelector('.closed');
  assert.match(await stranger.locator('main').innerText(), /token create --scope admin/);
  await looksRight(stranger, 'closed');
  stranger.clean(/401/);
  for (const [path, method] of [['/api/v1/flash', 'GET'], ['/api/v1/flash/images/stamp-c3/0.1.0', 'GET'], ['/api/v1/flash/devices', 'POST']]) {
    const headers = { 'content-type': 'application/json' };
    const body = method === 'POST' ? JSON.stringify({ room: 'x', url: gateway.url }) : undefined;
    assert.equal((await gateway.fetch(path, { method, headers, body })).status, 401, path);
    const authorization = `Bearer ${await home.createToken('read')}`;
    assert.equal((await gateway.fetch(path, { method, headers: { ...headers, authorization }, body })).status, 403, path);
  }
});

test('without Web Serial the command lines stand there, and they work', async (t) => {
  for (const theme of themes) {
    const tab = await page(browser, gateway, { storageState: session, theme, width: theme === 'light' ? 1280 : 360 });
    t.after(() => tab.context().close());
    await tab.addInitScript(() => { delete Navigator.prototype.serial; });
    await tab.goto('/flash');
    await tab.waitForSelector('.flash-commands[open]');
    assert.match(await tab.locator('main').innerText(), /cannot talk to a board/);
    await looksRight(tab, `no Web Serial ${theme}`);
    await tab.screenshot({ path: join(shots, `flash-no-serial-${theme}-${theme === 'light' ? 1280 : 360}.png`), fullPage: true });
    const line = (await tab.locator('pre', { hasText: 'device image' }).innerText()).replace(/\\\n/g, ' ');
    const args = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain).slice(1);
    const password = join(home.folder, 'password');
    writeFileSync(password, `${PASSWORD}\n`);
    const file = await home.run(...args, '--wifi-password-file', password);
    assert.ok(line.includes(gateway.url), line);
    const image = readFileSync(join(home.folder, file));
    assert.equal(image.subarray(0, 4).toString(), 'CSET');
    assert.ok(image.includes(PASSWORD) && image.includes(gateway.url) && image.includes('cas_dev_'));
    tab.clean();
  }
});
