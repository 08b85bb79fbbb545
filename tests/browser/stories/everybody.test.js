// The pages for everybody: by keyboard, by screen reader, on a narrow screen, without JavaScript, in odd locales.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { artifacts, fits, open, page, themes, widths } from '../harness/browser.js';
import { Home, school } from '../harness/gateway.js';

const shots = join(artifacts, 'screenshots');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// One school, one empty house and one browser for the whole file.
const cleanups = [];
const shared = { after: (undo) => cleanups.push(undo) };
let full;
let empty;
let browser;
before(async () => {
  await mkdir(shots, { recursive: true });
  full = (await school(shared)).gateway;
  empty = await new Home(shared).serve();
  browser = await open(shared);
});
after(async () => {
  for (const undo of cleanups) await undo();
});

const settled = (tab) => tab.evaluate(() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))));

const PAGES = [
  { name: 'rooms', path: '/', ready: (tab) => tab.waitForSelector('[data-room] [data-value]') },
  { name: 'room', path: '/r/Lab', ready: painted },
  { name: 'room-offline', path: '/r/Gym?r=6h', ready: painted },
  { name: 'room-estimate', path: '/r/Office', ready: painted },
  { name: 'login', path: '/login', ready: (tab) => tab.waitForSelector('input[name="token"]') },
  { name: 'claim', path: '/claim', ready: (tab) => tab.waitForSelector('input[name="code"]') },
  { name: 'not-found', path: '/no/such/page', ready: (tab) => tab.waitForSelector('main h1'), complaint: /404/ },
  { name: 'no-such-room', path: '/r/Nowhere', ready: (tab) => tab.waitForSelector('main h1'), complaint: /404/ },
  { name: 'empty', path: '/', ready: (tab) => tab.waitForSelector('main h1'), gateway: () => empty },
];

async function painted(tab) {
  await tab.waitForFunction(() => performance.getEntriesByName('casement-chart-painted').length > 0);
}

for (const { name, path, ready, complaint, gateway = () => full } of PAGES) {
  test(`${name}: no axe violation, nothing cut off, in both themes and three widths`, async () => {
    for (const theme of themes) {
      for (const width of widths) {
        const tab = await page(browser, gateway(), { theme, width });
        const what = `${name} ${theme} ${width}`;
        await tab.goto(path);
        await ready(tab);
        await settled(tab);
        await tab.screenshot({ path: join(shots, `${name}-${theme}-${width}.png`), fullPage: true });
        await fits(tab, what);
        // Through the debugger, because the page's own policy would refuse an injected script.
        await tab.evaluate(axe);
        const { violations } = await tab.evaluate(() => axe.run(document, {
          runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
        }));
        const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.slice(0, 3).map((node) => `    ${node.html}\n    ${node.failureSummary}`).join('\n')}`);
        assert.deepEqual(told, [], what);
        tab.clean(complaint);
        await tab.context().close();
      }
    }
  });
}

test('nothing is cut off at 320 px, nor with text at twice its size', async () => {
  for (const { name, path, ready, gateway = () => full } of PAGES) {
    const tab = await page(browser, gateway(), { width: 320, height: 640 });
    await tab.goto(path);
    await ready(tab);
    await settled(tab);
    await fits(tab, `${name} at 320 px`);
    await tab.screenshot({ path: join(shots, `${name}-light-320.png`), fullPage: true });
    await tab.setViewportSize({ width: 640, height: 640 });
    await tab.evaluate(() => { document.documentElement.style.fontSize = '200%'; });
    await settled(tab);
    await fits(tab, `${name} with text twice as large`);
    await tab.context().close();
  }
});

test('the worst room stands first, and each says its state without colour', async () => {
  const tab = await page(browser, full);
  await tab.goto('/');
  await tab.waitForSelector('[data-room] [data-value]');
  const rooms = await tab.locator('[data-room]').evaluateAll((panes) => panes.map((pane) => [
    pane.dataset.room, pane.dataset.band, pane.dataset.presence, pane.innerText,
  ]));
  const of = (name) => rooms.find(([room]) => room.startsWith(name));
  assert.equal(rooms[0][0], 'Room 101');
  for (const [name, band, presence, said] of [
    ['Room 101', 'now', 'online', /■\s*Air now/], ['Library', 'soon', 'online', /▲\s*Air soon/], ['Lab', 'good', 'online', /●\s*Good/],
    ['Gym', undefined, 'offline', /✕\s*Offline/], ['Attic', undefined, 'never', /◌\s*No data/],
  ]) {
    const found = of(name);
    assert.ok(found, name);
    if (band) assert.equal(found[1], band, name);
    assert.equal(found[2], presence, name);
    assert.match(found[3], said, name);
  }
  assert.match(of('Office')[3], /eCO₂/);
  tab.clean();
});

test('the chart is read by keyboard alone', async () => {
  const tab = await page(browser, full);
  await tab.goto('/');
  await tab.waitForSelector('[data-room="Lab"] a');
  const focused = () => tab.evaluate(() => document.activeElement?.closest('[data-testid]')?.getAttribute('data-testid') ?? document.activeElement?.textContent?.trim());
  const tabTo = async (goal) => {
    for (let i = 0; i < 80; i++) {
      await tab.keyboard.press('Tab');
      if (await focused() === goal) return;
    }
    assert.fail(`Tab does not lead to ${goal}`);
  };
  await tabTo('Lab');
  await tab.keyboard.press('Enter');
  await painted(tab);
  await tabTo('chart');
  const announced = () => tab.locator('[data-testid="chart-announce"]').innerText();
  const press = async (key) => {
    const before = await announced();
    await tab.keyboard.press(key);
    await tab.waitForFunction((text) => document.querySelector('[data-testid="chart-announce"]').innerText !== text, before);
    const text = await announced();
    assert.match(text, /\d+\s*ppm/, key);
    return text;
  };
  const latest = await press('ArrowLeft');
  const earlier = await press('ArrowLeft');
  assert.notEqual(earlier, latest);
  assert.equal(await press('ArrowRight').then((text) => text.match(/\d+\s*ppm/)[0]), latest.match(/\d+\s*ppm/)[0]);
  await press('Home');
  await press('Shift+ArrowRight');
  await press('End');
  // Ranges are a key away, and the address says which one it is.
  await tab.keyboard.press('1');
  await tab.waitForURL(/[?&]r=1h/);
  await tab.keyboard.press('3');
  await tab.waitForURL((url) => !url.search.includes('r=1h'));
  await tab.goBack();
  await tab.waitForURL(/[?&]r=1h/);
  tab.clean();
});

test('the table twin says the same as the chart, the CSV has every reading', async () => {
  const tab = await page(browser, full);
  await tab.goto('/r/Lab');
  await painted(tab);
  await tab.locator('[data-testid="chart"]').focus();
  await tab.keyboard.press('t');
  const twin = tab.locator('[data-testid="table-twin"]');
  await tab.waitForFunction(() => document.querySelector('[data-testid="table-twin"]').open);
  const rows = await twin.locator('tbody tr').count();
  assert.ok(rows > 20, `${rows} rows`);
  const [download] = await Promise.all([tab.waitForEvent('download'), tab.click('[data-testid="csv"]')]);
  const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split('\n');
  assert.equal(lines[0].trim(), 'time_utc,time_local,device,room,metric,value,unit,state');
  // A day at one reading a minute, less an hour of silence; the first of them may just have left the day.
  assert.ok(Math.abs(lines.length - 1 - (24 * 60 - 59)) <= 2, `${lines.length} lines`);
  tab.clean();
});

test('the keys are listed on demand', async () => {
  const tab = await page(browser, full);
  await tab.goto('/r/Lab');
  await painted(tab);
  await tab.locator('[data-testid="chart"]').focus();
  await tab.keyboard.press('?');
  const help = tab.locator('dialog[open]');
  assert.match(await help.innerText(), /Home · End/);
  await tab.screenshot({ path: join(shots, 'keys-light-1280.png') });
  await tab.keyboard.press('Escape');
  await tab.waitForSelector('dialog:not([open])', { state: 'attached' });
  // Closing gives the keys back to the chart.
  await tab.keyboard.press('End');
  await tab.waitForFunction(() => /ppm/.test(document.querySelector('[data-testid="chart-announce"]').textContent));
  tab.clean();
});

test('two fingers zoom the chart, a double tap goes back', async () => {
  const tab = await page(browser, full, { width: 360, hasTouch: true, isMobile: true });
  await tab.goto('/r/Lab');
  await painted(tab);
  const box = await tab.locator('.chart .u-over').boundingBox();
  const wire = await tab.context().newCDPSession(tab);
  const y = box.y + box.height / 2;
  const touch = (type, ...shares) => wire.send('Input.dispatchTouchEvent', {
    type, touchPoints: shares.map((share, id) => ({ x: box.x + share * box.width, y, id })),
  });
  await touch('touchStart', 0.4, 0.6);
  for (const spread of [0.05, 0.1, 0.2]) await touch('touchMove', 0.4 - spread, 0.6 + spread);
  await touch('touchEnd');
  await tab.waitForURL(/from=\d+&to=\d+/);
  const query = new URL(tab.url()).searchParams;
  const hours = (query.get('to') - query.get('from')) / 3_600_000;
  assert.ok(hours > 6 && hours < 10, `${hours} h of 24, for fingers three times as far apart`);
  await tab.waitForSelector('.go-live');
  for (let tap = 0; tap < 2; tap++) {
    await touch('touchStart', 0.5);
    await touch('touchEnd');
  }
  await tab.waitForURL((url) => !url.searchParams.has('from'));
  tab.clean();
});

test('an hour of silence is a gap that is named', async () => {
  const tab = await page(browser, full);
  await tab.goto('/r/Lab?r=6h');
  await painted(tab);
  await tab.locator('[data-testid="chart"]').focus();
  await tab.keyboard.press('End');
  const said = [];
  for (let i = 0; i < 400 && !said.some((text) => /no data/i.test(text)); i++) {
    await tab.keyboard.press('ArrowLeft');
    said.push(await tab.locator('[data-testid="chart-announce"]').innerText());
  }
  assert.match(said.at(-1), /no data/i);
  tab.clean();
});

test('without JavaScript the rooms and their numbers stand in a table', async () => {
  for (const [theme, width] of [['light', 360], ['dark', 1280]]) {
    const tab = await page(browser, full, { javaScriptEnabled: false, theme, width });
    await tab.goto('/');
    const rows = (await tab.locator('table tr').allInnerTexts()).map((text) => text.replace(/\s+/g, ' '));
    const row = (room) => rows.find((text) => text.includes(room)) ?? assert.fail(`no row of ${room} in\n${rows.join('\n')}`);
    assert.match(row('Library'), /1[ ,.\u202f]?120/);
    assert.match(row('Library'), /Air soon/i);
    assert.match(row('Gym'), /Offline/i);
    for (const room of ['Lab', 'Room 101', 'Office', 'Canteen', 'Attic']) row(room);
    await tab.screenshot({ path: join(shots, `no-javascript-${theme}-${width}.png`), fullPage: true });
    await tab.context().close();
  }
});

test('an odd system language does not stop the chart', async () => {
  const tab = await page(browser, full);
  // What Chromium reports under LANG=C, and what Intl refuses.
  await tab.addInitScript(() => {
    Object.defineProperty(navigator, 'language', { get: () => 'en-US@posix' });
    Object.defineProperty(navigator, 'languages', { get: () => ['en-US@posix'] });
  });
  await tab.goto('/r/Lab');
  await painted(tab);
  tab.clean();
});

test('the dark theme is dark, and a choice is kept', async () => {
  const brightness = (tab) => tab.evaluate(() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
    return (r + g + b) / 3;
  });
  const dark = await page(browser, full, { theme: 'dark' });
  await dark.goto('/');
  await dark.waitForSelector('[data-room]');
  assert.ok(await brightness(dark) < 80);
  const light = await page(browser, full, { theme: 'light' });
  await light.goto('/');
  await light.waitForSelector('[data-room]');
  assert.ok(await brightness(light) > 150);
});

test('what the empty page tells people to send is accepted', async (t) => {
  const home = new Home(t);
  const gateway = await home.serve();
  const tab = await page(browser, gateway);
  await tab.goto('/');
  const curl = await tab.locator('pre', { hasText: 'curl' }).innerText();
  const body = curl.match(/-d '([^']+)'/)?.[1];
  assert.ok(body, curl);
  assert.match(curl, new RegExp(`${gateway.url}/api/v1/readings`));
  const id = JSON.parse(body).device ?? 'room-101';
  const token = await home.addDevice(id, 'Room 101');
  const answer = await gateway.fetch('/api/v1/readings', {
    method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body,
  });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(JSON.parse(answer.text).stored, 1, answer.text);
  await tab.waitForSelector('[data-room="Room 101"] [data-value]', { timeout: 20_000 });
});
