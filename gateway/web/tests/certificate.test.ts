import { describe, expect, test } from 'vitest';
import type { Acme, Attempt, Certificate, Verdict } from '../src/api';
import {
  allowance, cameOf, covers, edge, headlineBelow, hstsWhy, isLate, left, lifetimeOf, lifetimeText, mustTry, namesOf, nextWhy,
  outcomeText, pairs, pause, refusalText, remaining, standingOf, took, until,
} from '../src/certificate/facts';

const MIN = 60_000;
const H = 60 * MIN;
const D = 24 * H;
const NOW = Date.parse('2026-11-22T10:00:00Z');

function acme(more: Partial<Acme> = {}): Acme {
  return {
    directory: 'https://acme-v02.api.letsencrypt.org/directory', ca: 'acme-v02.api.letsencrypt.org', account: null, thumbprint: null,
    profile: null, challenge: 'auto', ari: null, next_attempt_ms: null, next_reason: null, running: null, stopped: null, last_error: null,
    issued_last_7_days: 0, attempts: [], ...more,
  };
}

/** Begun and ending so many days from now. */
function certificate(begun = -30, ends = 60, more: Partial<Certificate> = {}, names = ['air.example.org']): Certificate {
  return {
    server_time_ms: NOW, source: 'acme', verdict: 'trusted', headline: '', wanted: ['air.example.org'], hsts: true, acme: acme(),
    shown: {
      origin: 'acme', names, issuer: '', subject: '', serial: '', key: '', sha256: '', not_before_ms: NOW + begun * D,
      not_after_ms: NOW + ends * D, days_left: ends, publicly_trusted: true, chain: [],
    },
    ...more,
  };
}

function attempt(more: Partial<Attempt> = {}): Attempt {
  return {
    at_ms: NOW - H, took_ms: 3400, reason: 'renewal', challenge: 'http-01', names: [], ok: true, dry_run: false, issued_until_ms: null,
    problem: null, name: null, detail: null, text: null, fix: null, ...more,
  };
}

test('time left has a unit that a person would choose', () => {
  const said = (ms: number) => left(ms).join(' ');
  expect([0, MIN, 90 * MIN, 3 * H, 47 * H, 49 * H, 71.9 * D, -D].map(said))
    .toEqual(['0 minutes', '1 minute', '90 minutes', '3 hours', '47 hours', '2 days', '71 days', '0 minutes']);
});

test('the large number counts to the end, from the end, or to the beginning', () => {
  expect(remaining(certificate(-30, 60), NOW)).toEqual({ value: '60', unit: 'days', word: 'left' });
  expect(remaining(certificate(-30, -3), NOW)).toEqual({ value: '3', unit: 'days', word: 'over' });
  expect(remaining(certificate(1, 60), NOW)).toEqual({ value: '24', unit: 'hours', word: 'until it begins' });
});

test('waiting times are told as one would', () => {
  expect([200, 45_000, 12 * MIN, 100 * MIN, 50 * H, 20 * D].map(until))
    .toEqual(['now', 'in 45 s', 'in 12 min', 'in 2 h', 'in 2 days', 'in 20 days']);
  expect([400, 3400, 72_000].map(took)).toEqual(['0.4 s', '3.4 s', '1 min']);
});

describe('the glass', () => {
  test('is bright for a good one and dark for one that browsers refuse', () => {
    const standing = (verdict: Verdict) => standingOf(certificate(-30, 60, { verdict }), NOW);
    expect((['trusted', 'private', 'self_signed', 'expired', 'wrong_names'] as const).map(standing)).toEqual(['good', 'none', 'soon', 'now', 'now']);
  });
  test('warns when the end is closer than renewals let it come', () => {
    expect(standingOf(certificate(-76, 14), NOW)).toBe('soon');
    expect(standingOf(certificate(-74, 16), NOW)).toBe('good');
    expect(isLate(certificate(-5.7, 0.9), NOW)).toBe(true);
    expect(isLate(certificate(-93, -3, { verdict: 'expired' }), NOW)).toBe(false);
  });
});

describe('the bar', () => {
  test('shows now, the window and nothing twice', () => {
    const inWindow = certificate(-30, 60, { acme: acme({
      ari: { start_ms: NOW + 30 * D, end_ms: NOW + 33 * D, explanation_url: null }, next_attempt_ms: NOW + 31 * D,
    }) });
    const { now, window, planned } = lifetimeOf(inWindow, NOW);
    expect(now).toBeCloseTo(1 / 3);
    expect([window?.from, window?.to].map((share) => share?.toFixed(3))).toEqual(['0.667', '0.700']);
    expect(planned).toBeNull();
  });
  test('shows a planned attempt unless it lies upon now or beyond the end', () => {
    const planned = (ms: number) => lifetimeOf(certificate(-30, 60, { acme: acme({ next_attempt_ms: NOW + ms }) }), NOW).planned;
    expect(planned(30 * D)).toBeCloseTo(2 / 3);
    expect([planned(H), planned(-H), planned(61 * D)]).toEqual([null, null, null]);
  });
  test('stays within its ends', () => {
    const window = (start: number, end: number) => lifetimeOf(certificate(-30, 60, { acme: acme({
      ari: { start_ms: NOW + start * D, end_ms: NOW + end * D, explanation_url: null },
    }) }), NOW).window;
    expect(window(50, 80)?.to).toBe(1);
    expect([window(61, 62), window(-40, -31)]).toEqual([null, null]);
    expect(lifetimeOf(certificate(-93, -3), NOW).now).toBe(1);
    expect(lifetimeOf(certificate(1, 3), NOW).now).toBe(0);
    expect(lifetimeOf(certificate(0, 0), NOW).now).toBe(0);
  });
  test('is told in words as well', () => {
    const text = lifetimeText(certificate(-30, 60, { acme: acme({ next_attempt_ms: NOW + 30 * D }) }), NOW, 'UTC');
    expect(text).toMatch(/^Valid from .*23.* to .*21.*; 33 % of that is over\. The next attempt is planned for .*22.*10:00\.$/);
  });
  test('names the time of day when the whole is short', () => {
    expect(edge(NOW, 6 * D, 'Europe/Brussels')).toMatch(/22.*, 11:00$/);
    expect(edge(NOW, 90 * D, 'Europe/Brussels')).toMatch(/22.*2026$/);
  });
});

test('a star stands for one label, and never for part of an address', () => {
  const cases: [string, string, boolean][] = [
    ['air.example.org', 'AIR.example.org', true], ['air.example.org', 'air.example.org.', true], ['*.example.org', 'air.example.org', true],
    ['*.example.org', 'example.org', false], ['*.example.org', 'a.b.example.org', false], ['*.0.113.7', '203.0.113.7', false],
    ['2001:db8::7', '2001:DB8::7', true],
  ];
  for (const [pattern, name, is] of cases) expect(covers(pattern, name), `${pattern} ${name}`).toBe(is);
});

test('names are told apart by whether they are wanted and covered', () => {
  const states = (wanted: string[], names: string[]) =>
    namesOf(certificate(-1, 1, { wanted }, names)).map(({ name, state, by }) => `${name} ${state}${by ? ` by ${by}` : ''}`);
  expect(states(['a.org', 'b.org'], ['a.org', 'c.org'])).toEqual(['a.org covered', 'b.org missing', 'c.org extra']);
  expect(states(['a.x.org'], ['*.x.org'])).toEqual(['a.x.org covered by *.x.org']);
  expect(states([], ['203.0.113.7'])).toEqual(['203.0.113.7 covered']);
});

test('HSTS says why it is as it is', () => {
  const why = (hsts: boolean, trusted: boolean) => {
    const one = certificate(-1, 1, { hsts });
    return hstsWhy({ ...one, shown: { ...one.shown, publicly_trusted: trusted } });
  };
  expect(new Set([why(true, true), why(true, false), why(false, true), why(false, false)]).size).toBe(4);
  expect(why(false, false)).toMatch(/lock visitors out/);
});

test('the word above the headline is not said twice', () => {
  expect(headlineBelow('Trusted. 71 days left.', 'Trusted')).toBe('71 days left.');
  expect(headlineBelow('Self-signed: browsers warn.', 'Self-signed')).toBe('Browsers warn.');
  expect(headlineBelow('Browsers warn. CAA forbids it. Add it.', 'Self-signed', 'CAA forbids it.')).toBe('Browsers warn.');
  expect(headlineBelow('CAA forbids it.', 'Self-signed', 'CAA forbids it.')).toBe('CAA forbids it.');
  for (const kept of ['Trusted by every browser.', 'Expired 3 days ago.', 'Trusted.', 'Does not cover a.org.', '']) expect(headlineBelow(kept, kept.split(/[ .]/)[0] ?? '')).toBe(kept);
});

test('what came of an attempt is a sentence', () => {
  expect(outcomeText(attempt({ issued_until_ms: NOW }), 'UTC')).toMatch(/valid until .*22.*2026\.$/);
  expect(outcomeText(attempt({ dry_run: true }), 'UTC')).toMatch(/would have succeeded/);
  expect(outcomeText(attempt({ ok: false, text: 'Port 80 is closed.' }), 'UTC')).toBe('Port 80 is closed.');
  expect(outcomeText(attempt({ ok: false }), 'UTC')).toBe('The attempt failed.');
});

test('every planned reason has words, one of a newer gateway too', () => {
  const said = ['first', 'names', 'renewal', 'ari', 'retry', 'asked', 'resume', 'unheard-of', null].map((reason) => nextWhy(acme({ next_reason: reason })));
  expect(said.every((text) => text.length > 5)).toBe(true);
});

describe('the weekly allowance', () => {
  test('is that of Let’s Encrypt', () => {
    expect(allowance(acme({ issued_last_7_days: 2 }))).toMatchObject({ used: 2, of: 5 });
    expect(allowance(acme({ issued_last_7_days: 6 })).text).toMatch(/may refuse/);
  });
  test('is not known of others, its test directory among them', () => {
    for (const ca of ['ca.home.arpa', 'acme-staging-v02.api.letsencrypt.org', 'acme-v02.api.letsencrypt.org.evil.example']) {
      expect(allowance(acme({ ca, issued_last_7_days: 9 })), ca).toMatchObject({ of: null, text: '9 issued in the last 7 days.' });
    }
  });
});

test('the button says "try again" only where there is something to mend', () => {
  const error = { at_ms: NOW, problem: 'dns', name: null, detail: null, text: null, fix: null };
  expect(mustTry(certificate())).toBe(false);
  expect(mustTry(certificate(-1, 1, { acme: acme({ last_error: error }) }))).toBe(true);
  expect(mustTry({ ...certificate(), shown: { ...certificate().shown, origin: 'self-signed' } })).toBe(true);
});

test('the gateway is asked often only while something happens', () => {
  const ask = (more: Partial<Acme>, askedAgo = Infinity) => pause(certificate(-1, 1, { acme: acme(more) }), NOW, askedAgo);
  expect(ask({})).toBe(60_000);
  expect(ask({ running: { since_ms: NOW, step: '' } })).toBe(2000);
  expect(ask({}, 1000)).toBe(2000);
  expect(ask({}, 31_000)).toBe(60_000);
  expect(ask({ next_attempt_ms: NOW + 20_000 })).toBe(21_000);
  expect(ask({ next_attempt_ms: NOW })).toBe(2000);
  expect(ask({ next_attempt_ms: NOW - 5000 })).toBe(60_000);
  expect(ask({ next_attempt_ms: NOW + H })).toBe(60_000);
  expect(pause(null, NOW, Infinity)).toBe(60_000);
  expect(pause(certificate(-1, 1, { acme: null }), NOW, Infinity)).toBe(60_000);
});

test('what came of a button is the first attempt that is newer than those there were', () => {
  const asked = { at: NOW, newest: NOW - H };
  expect(cameOf(asked, acme({ attempts: [attempt()] }))).toBeNull();
  const fresh = attempt({ at_ms: NOW });
  expect(cameOf(asked, acme({ attempts: [fresh, attempt()] }))).toBe(fresh);
  expect(cameOf(asked, acme({ attempts: [fresh], running: { since_ms: NOW, step: '' } }))).toBeNull();
  expect(cameOf(null, acme({ attempts: [fresh] }))).toBeNull();
});

test('a refusal is told in words', () => {
  expect(refusalText(403, 'this needs a token of scope admin')).toMatch(/casement token create --scope admin/);
  expect(refusalText(403, '')).toMatch(/scope admin/);
  expect(refusalText(403, 'this request was sent from another site')).toBe('The gateway refused: this request was sent from another site.');
  expect(refusalText(409, '')).toMatch(/tls\.source/);
  expect(refusalText(429, 'wait 40 s.')).toBe('The gateway refused: wait 40 s.');
  expect(refusalText(500, '')).toMatch(/500/);
});

test('digits stand in pairs, as browsers show them', () => {
  expect(pairs('03a1f0').join('')).toBe('03:A1:F0');
  expect(pairs('03a1f').join('')).toBe('03:A1:F');
  expect(pairs('not hex')).toEqual(['not hex']);
  expect(pairs('')).toEqual(['']);
});
