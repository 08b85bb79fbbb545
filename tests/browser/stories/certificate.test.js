// The certificate's page: the real gateway's own certificate, then every state that takes a CA or months to come about.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { artifacts, fits, open, page, themes, widths } from '../harness/browser.js';
import { certificates } from '../harness/certificates.js';
import { Home } from '../harness/gateway.js';

const shots = join(artifacts, 'screenshots');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const cleanups = [];
const shared = { after: (undo) => cleanups.push(undo) };
let home;
let gateway;
let browser;
before(async () => {
  await mkdir(shots, { recursive: true });
  home = new Home(shared);
  gateway = await home.serve();
  browser = await open(shared);
});
after(async () => {
  for (const undo of cleanups) await undo();
});

const HERO = '[data-testid="certificate"]';

/** A gateway that answers in the browser: `state()` for the JSON, `renew` for the button (null: the real one answers). */
async function pretend(tab, state, renew = () => ({ status: 202, json: { accepted: true } })) {
  const seen = { looks: [], asked: [] };
  await tab.route('**/api/v1/certificate', (route) => {
    seen.looks.push(performance.now());
    const answer = state();
    return route.fulfill(answer.status ? answer : { json: answer });
  });
  if (renew) await tab.route('**/api/v1/certificate/renew', (route) => {
    seen.asked.push(route.request().postDataJSON());
    return route.fulfill(renew());
  });
  return seen;
}

async function shown(tab) {
  await tab.waitForSelector(HERO);
  await tab.evaluate(() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))));
}

/** A tab that has signed in. */
async function signedIn(scope, options) {
  const tab = await page(browser, gateway, options);
  await tab.goto('/login?next=/certificate');
  await tab.fill('input[name="token"]', await home.createToken(scope));
  await tab.keyboard.press('Enter');
  await tab.waitForURL(({ pathname }) => pathname === '/certificate');
  return tab;
}

async function until(what, condition, within = 10_000) {
  for (const deadline = Date.now() + within; Date.now() < deadline;) {
    if (await condition()) return;
    await new Promise((later) => setTimeout(later, 25));
  }
  assert.fail(`not within ${within} ms: ${what}`);
}

test('the real gateway shows the certificate that it serves', async () => {
  const tab = await page(browser, gateway);
  await tab.goto('/');
  await tab.locator('footer a', { hasText: 'Certificate' }).click();
  await tab.waitForURL(/\/certificate$/);
  await shown(tab);
  const said = JSON.parse((await gateway.fetch('/api/v1/certificate')).text);
  assert.equal(said.verdict, 'self_signed');
  assert.equal(await tab.locator(HERO).getAttribute('data-verdict'), 'self_signed');
  const text = (await tab.locator('main').innerText()).replace(/\s+/g, ' ');
  assert.match(text, /Self-signed/);
  for (const name of said.shown.names) assert.ok(text.includes(name), name);
  assert.ok(text.replace(/[ :]/g, '').includes(said.shown.sha256.toUpperCase()), 'the fingerprint, to be compared with what the browser shows');
  assert.match(text, /source = "acme"/, 'how to get a trusted one');
  assert.equal(await tab.locator('[data-testid="renew"]').count(), 0, 'there is nothing to renew');
  assert.match(await tab.title(), /^Self-signed · Certificate/);
  assert.equal(await tab.evaluate(() => document.activeElement?.tagName), 'H1', 'a screen reader hears where it has come to');
  await tab.screenshot({ path: join(shots, 'certificate-real-light-1280.png'), fullPage: true });
  tab.clean();
});

// The four that people meet most in every size, the others once in each theme.
const THOROUGH = ['trusted', 'failing', 'stopped', 'selfSigned'];
for (const name of Object.keys(certificates)) {
  test(`${name}: no axe violation, nothing cut off`, async () => {
    const all = themes.flatMap((theme) => widths.map((width) => [theme, width]));
    for (const [theme, width] of THOROUGH.includes(name) ? all : [['light', 360], ['dark', 1280]]) {
      const tab = await page(browser, gateway, { theme, width });
      await pretend(tab, () => certificates[name](Date.now()));
      await tab.goto('/certificate');
      await shown(tab);
      const what = `${name} ${theme} ${width}`;
      await tab.screenshot({ path: join(shots, `certificate-${name}-${theme}-${width}.png`), fullPage: true });
      await fits(tab, what);
      for (const details of await tab.locator('details').all()) await details.evaluate((element) => { element.open = true; });
      await fits(tab, `${what}, all opened`);
      await tab.evaluate(axe);
      const { violations } = await tab.evaluate(() => axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
      }));
      assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes[0].html} ${nodes[0].failureSummary}`), [], what);
      tab.clean();
      await tab.context().close();
    }
  });
}

test('nothing is cut off at 320 px, nor with text at twice its size', async () => {
  for (const name of THOROUGH) {
    const tab = await page(browser, gateway, { width: 320, height: 640 });
    await pretend(tab, () => certificates[name](Date.now()));
    await tab.goto('/certificate');
    await shown(tab);
    await fits(tab, `${name} at 320 px`);
    await tab.setViewportSize({ width: 640, height: 640 });
    await tab.evaluate(() => { document.documentElement.style.fontSize = '200%'; });
    await fits(tab, `${name} with text twice as large`);
    await tab.context().close();
  }
});

test('five verdicts are five shapes and five words', async () => {
  const shapes = new Set();
  const words = new Set();
  for (const name of ['trusted', 'private', 'selfSigned', 'expired', 'wrongNames']) {
    const tab = await page(browser, gateway);
    await pretend(tab, () => certificates[name](Date.now()));
    await tab.goto('/certificate');
    await shown(tab);
    shapes.add(await tab.locator(`${HERO} .padlock-sign`).getAttribute('d'));
    words.add(await tab.locator(`${HERO} .lock-word`).innerText());
    await tab.context().close();
  }
  assert.equal(shapes.size, 5);
  assert.deepEqual([...words], ['Trusted', 'Private', 'Self-signed', 'Expired', 'Wrong names']);
});

test('the bar says in words what it draws', async () => {
  const tab = await page(browser, gateway);
  await pretend(tab, () => certificates.trusted(Date.now()));
  await tab.goto('/certificate');
  await shown(tab);
  const name = await tab.locator('[data-testid="lifetime"] [role="img"]').getAttribute('aria-label');
  assert.match(name, /^Valid from .* to .*; 21 % of that is over\. The authority proposes to renew between .* and .*\. The next attempt is planned for .*\.$/);
  const share = async (selector) => tab.locator(selector).evaluate((mark) => {
    const [box, bar] = [mark.getBoundingClientRect(), mark.parentElement.getBoundingClientRect()];
    return (box.left + box.width / 2 - bar.left) / bar.width;
  });
  assert.ok(Math.abs(await share('.bar-now') - 19 / 90) < 0.01, 'now');
  assert.ok(Math.abs(await share('.bar-window') - 60.5 / 90) < 0.01, 'the window');
  tab.clean();
});

test('an authority that refuses for good: what, the fix, and another try by keyboard', async () => {
  const tab = await signedIn('admin');
  let state = () => certificates.stopped(Date.now());
  const seen = await pretend(tab, () => state());
  await tab.reload();
  await shown(tab);
  const stopped = await tab.locator('[data-testid="stopped"]').innerText();
  assert.match(stopped, /■\s*Stopped since/);
  assert.match(stopped, /A CAA record forbids/);
  assert.match(stopped, /What to do: Add the authority/);
  for (let i = 0; i < 40 && !await tab.evaluate(() => document.activeElement?.dataset.testid === 'renew'); i++) await tab.keyboard.press('Tab');
  assert.equal(await tab.evaluate(() => document.activeElement?.textContent), 'Try again now');
  state = () => certificates.running(Date.now());
  await tab.keyboard.press('Enter');
  await tab.waitForSelector('[data-testid="running"]');
  assert.deepEqual(seen.asked, [{ dry_run: false }]);
  assert.match(await tab.locator('[role="status"] [data-testid="running"]').innerText(), /waiting for the authority to check air\.example\.org/);
  // While it runs the buttons do nothing, and keep the focus.
  await tab.keyboard.press('Enter');
  assert.equal(await tab.evaluate(() => document.activeElement?.getAttribute('aria-disabled')), 'true');
  assert.equal(seen.asked.length, 1);
  state = () => {
    const done = certificates.trusted(Date.now());
    done.acme.attempts.unshift({ ...done.acme.attempts[1], at_ms: Date.now() });
    return done;
  };
  await tab.waitForSelector(`${HERO}[data-verdict="trusted"]`);
  assert.match(await tab.locator('[data-testid="answer"]').innerText(), /A new certificate was issued, valid until/);
  assert.equal(await tab.locator('[data-testid="stopped"]').count(), 0);
  tab.clean();
});

test('a dry run changes nothing, and says that it would have worked', async () => {
  const tab = await signedIn('admin');
  let rehearsed = false;
  const seen = await pretend(tab, () => {
    const one = certificates.trusted(Date.now());
    if (rehearsed) one.acme.attempts.unshift({ ...one.acme.attempts[0], at_ms: Date.now() });
    return one;
  }, () => {
    rehearsed = true;
    return { status: 202, json: { accepted: true } };
  });
  await tab.reload();
  await shown(tab);
  await tab.click('[data-testid="rehearse"]');
  await tab.waitForFunction(() => /would have succeeded/.test(document.querySelector('[data-testid="answer"]').textContent));
  assert.deepEqual(seen.asked, [{ dry_run: true }]);
  assert.match(await tab.locator('.allowance').innerText(), /2 of 5 issued in the last 7 days/);
  tab.clean();
});

test('a button that is refused says why', async () => {
  const tab = await signedIn('read');
  let answer = { status: 403, json: { detail: 'this needs a token of scope admin' } };
  await pretend(tab, () => certificates.trusted(Date.now()), () => answer);
  await tab.reload();
  await shown(tab);
  const says = async (what) => {
    await tab.click('[data-testid="renew"]');
    await tab.waitForFunction((text) => document.querySelector('[data-testid="answer"]').textContent.includes(text), what);
  };
  await says('casement token create --scope admin');
  answer = { status: 409, json: {} };
  await says('tls.source');
  answer = { status: 429, json: { detail: 'wait 40 s' } };
  await says('The gateway refused: wait 40 s.');
  tab.clean(/403|409|429/);
});

for (const [scope, what, says] of [
  ['read', 'does not let a reader ask', 'casement token create --scope admin'],
  ['admin', 'lets an admin ask, and has no authority to pass it on to', 'tls.source'],
]) {
  test(`the real gateway ${what}`, async () => {
    const tab = await signedIn(scope);
    await pretend(tab, () => certificates.trusted(Date.now()), null);
    await tab.reload();
    await shown(tab);
    await tab.click('[data-testid="renew"]');
    const answer = tab.locator('[data-testid="answer"]');
    await until('an answer', async () => (await answer.innerText()) !== '');
    assert.ok((await answer.innerText()).includes(says), await answer.innerText());
    tab.clean(/403|409/);
  });
}

test('the page asks every two seconds while something runs, and never unseen', async () => {
  const tab = await page(browser, gateway);
  await tab.addInitScript(() => {
    let hidden = false;
    Object.defineProperty(document, 'hidden', { get: () => hidden });
    window.look = (away) => {
      hidden = away;
      document.dispatchEvent(new Event('visibilitychange'));
    };
  });
  let state = () => certificates.running(Date.now());
  const { looks } = await pretend(tab, () => state());
  await tab.goto('/certificate');
  await shown(tab);
  await until('four looks', () => looks.length >= 4, 15_000);
  for (let i = 1; i < 4; i++) {
    const pause = looks[i] - looks[i - 1];
    assert.ok(pause > 1800 && pause < 4000, `${pause} ms`);
  }
  await tab.evaluate(() => window.look(true));
  const before = looks.length;
  await new Promise((later) => setTimeout(later, 5000));
  assert.equal(looks.length, before, 'a hidden page asks nothing');
  state = () => certificates.trusted(Date.now());
  await tab.evaluate(() => window.look(false));
  await tab.waitForSelector(`${HERO}[data-verdict="trusted"]`, { timeout: 1500 });
  const calm = looks.length;
  await new Promise((later) => setTimeout(later, 5000));
  assert.equal(looks.length, calm, 'nothing runs, nothing is asked');
  tab.clean();
});

test('a gateway that does not answer is said to, and what was known stays', async () => {
  const tab = await page(browser, gateway);
  let state = () => certificates.running(Date.now());
  await pretend(tab, () => state());
  await tab.goto('/certificate');
  await shown(tab);
  state = () => ({ status: 503, body: 'busy' });
  await tab.waitForFunction(() => /did not answer/.test(document.querySelector('main [role="alert"]').textContent));
  assert.equal(await tab.locator(HERO).count(), 1);
  state = () => certificates.trusted(Date.now());
  await tab.locator('[role="alert"] button').click();
  await tab.waitForSelector(`${HERO}[data-verdict="trusted"]`);
  assert.equal(await tab.locator('main [role="alert"]').innerText(), '');
  tab.clean(/503/);
});

test('strangers are told to sign in, and come back', async () => {
  const tab = await page(browser, gateway);
  await pretend(tab, () => ({ status: 401, json: {} }));
  await tab.goto('/certificate');
  await tab.waitForSelector('main .missing');
  assert.equal(await tab.locator(HERO).count(), 0);
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(violations.map(({ id }) => id), []);
  await tab.locator('main').getByRole('button', { name: 'Sign in' }).click();
  await tab.waitForURL(/\/login\?next=%2Fcertificate$/);
  tab.clean(/401/);
});

test('a session that has ended leads to the door', async () => {
  const tab = await signedIn('read');
  await pretend(tab, () => ({ status: 401, json: {} }));
  await tab.reload();
  await tab.waitForURL(/\/login\?next=%2Fcertificate$/);
  tab.clean(/401/);
});

test('without scripts the page is a table', async () => {
  const tab = await page(browser, gateway, { javaScriptEnabled: false });
  await tab.goto('/certificate');
  const text = await tab.locator('main').innerText();
  assert.match(text, /Certificate[^]*the gateway's own[^]*names[^]*localhost[^]*ends/);
});

test('the first view of Rooms does not carry this page', async () => {
  const tab = await page(browser, gateway);
  const files = [];
  tab.on('request', (request) => files.push(new URL(request.url()).pathname));
  await tab.goto('/');
  await tab.waitForSelector('main h1');
  await tab.waitForLoadState('load');
  assert.deepEqual(files.filter((path) => /certificate/.test(path)), []);
});
