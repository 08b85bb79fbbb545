// Real headless Chromium, and a watch over everything a page does.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { chromium } from 'playwright-core';

const here = import.meta.dirname ?? new URL('.', import.meta.url).pathname;
export const artifacts = resolve(here, '../../artifacts');
export const themes = ['light', 'dark'];
export const widths = [360, 768, 1280];

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const QUIET = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync',
];

/** A browser that is closed when the test ends. */
export async function open(test) {
  const executablePath = process.env.CHROMIUM ?? PLACES.find(existsSync);
  if (!executablePath) throw new Error('no Chromium: install the package chromium, or name a browser in $CHROMIUM');
  const browser = await chromium.launch({
    executablePath, headless: true, chromiumSandbox: false, args: QUIET,
  });
  test.after(() => browser.close());
  return browser;
}

/** A page of its own session that remembers everything that went wrong on it. */
export async function page(browser, gateway, { width = 1280, height = 800, theme = 'light', ...more } = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, baseURL: gateway.url, viewport: { width, height }, colorScheme: theme, ...more,
  });
  const tab = await context.newPage();
  const faults = [];
  const home = new URL(gateway.url).host;
  tab.on('request', (request) => {
    const url = new URL(request.url());
    // blob: and data: never leave the page.
    if (/^https?:|^wss?:/.test(url.protocol) && url.host !== home) faults.push(`asked another host: ${url}`);
  });
  tab.on('pageerror', (error) => faults.push(`uncaught: ${error.message}`));
  tab.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') faults.push(`${message.type()}: ${message.text()}`);
  });
  /** Nothing went wrong, but for what matches `expected`. */
  tab.clean = (expected = /^$/) => {
    assert.deepEqual(faults.filter((fault) => !expected.test(fault)), [], 'the page must work without a complaint');
  };
  return tab;
}

/** No part of the page is cut off or must be scrolled to sideways. */
export async function fits(tab, what) {
  const over = await tab.evaluate(() => {
    const scroller = document.scrollingElement;
    if (scroller.scrollWidth <= scroller.clientWidth) return null;
    const wide = [...document.querySelectorAll('body *')].filter((element) => {
      const box = element.getBoundingClientRect();
      return box.width > 0 && box.right > scroller.clientWidth + 1;
    });
    return `${scroller.scrollWidth} > ${scroller.clientWidth}: ${wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 100)).join('\n')}`;
  });
  assert.equal(over, null, `${what} is wider than the screen`);
}

/** Keeps figures beside the screenshots, and shows them. */
export async function figures(name, title, rows) {
  const width = Math.max(...rows.map(([label]) => label.length));
  const text = `${title}\n${rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`).join('\n')}\n`;
  process.stderr.write(text);
  await mkdir(join(artifacts, 'figures'), { recursive: true });
  await writeFile(join(artifacts, 'figures', `browser_${name}.txt`), text);
}

/** The value below which this share of the figures lies. */
export function quantile(figures, share) {
  const sorted = [...figures].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}
