// What a certificate's JSON means: standing, the bar of its lifetime, names, words, when to ask again.
// Pure: time and zone are arguments.

import type { Acme, Attempt, Certificate, Verdict } from '../api';
import type { Standing } from '../band';
import { clock, duration, fullDay, moment, number, shortDay } from '../format';
import { words } from './strings';

const DAY_MS = 86_400_000;

/** While something runs, or somebody has just asked for it. */
const SOON_MS = 2000;
const CALM_MS = 60_000;
/** How long after a button the gateway may take to begin. */
export const ASKED_MS = 30_000;

/** What Let's Encrypt issues for one exact set of names in seven days. */
export const WEEKLY_MAX = 5;

/** Less than this share of the lifetime is left: every renewal should long have happened. */
const LATE_SHARE = 1 / 6;

/** Marks on the bar that are closer than this lie upon each other. */
const CLOSE_SHARE = 0.02;

/** The colour of the glass; the padlock and the word say the same without it. */
export function standingOf(certificate: Certificate, now: number): Standing {
  const standing = STANDING[certificate.verdict];
  return standing === 'good' && isLate(certificate, now) ? 'soon' : standing;
}

const STANDING: Record<Verdict, Standing> = {
  trusted: 'good', private: 'none', self_signed: 'soon', expired: 'now', wrong_names: 'now',
};

/** In date, but the end is closer than a working renewal lets it come. */
export function isLate({ verdict, shown }: Certificate, now: number): boolean {
  if (verdict === 'expired') return false;
  return shown.not_after_ms - now < (shown.not_after_ms - shown.not_before_ms) * LATE_SHARE;
}

/** "71 days", "31 hours", "12 minutes": the number that stands large, and its unit. */
export function left(ms: number): [string, string] {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 120) return [String(minutes), words.unit.minutes(minutes)];
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return [String(hours), words.unit.hours(hours)];
  const days = Math.floor(hours / 24);
  return [String(days), words.unit.days(days)];
}

/** The gateway's sentence, without the word that stands above it already, and up to what is told below it. */
export function headlineBelow(headline: string, word: string, below?: string): string {
  const end = below ? headline.indexOf(below) : -1;
  const own = end > 0 ? headline.slice(0, end).trimEnd() : headline;
  const rest = own.startsWith(word) ? own.slice(word.length).replace(/^[.:,]\s*/, '') : own;
  return rest && rest !== own && !/^\s/.test(rest) ? rest.charAt(0).toUpperCase() + rest.slice(1) : own;
}

/** What stands beside the number: days left, since when it is over, or until it begins. */
export function remaining({ shown }: Certificate, now: number): { value: string; unit: string; word: string } {
  const [ms, word] = now < shown.not_before_ms ? [shown.not_before_ms - now, words.untilItBegins]
    : now < shown.not_after_ms ? [shown.not_after_ms - now, words.left] : [now - shown.not_after_ms, words.over];
  const [value, unit] = left(ms);
  return { value, unit, word };
}

/** Shares of the lifetime, 0 to 1, as they are drawn. */
export interface Lifetime {
  now: number;
  /** The window that the authority proposes. */
  window: { from: number; to: number } | null;
  /** The attempt that is planned, unless it is within the window or too close to now to be told apart. */
  planned: number | null;
}

export function lifetimeOf({ shown, acme }: Certificate, now: number): Lifetime {
  const length = Math.max(1, shown.not_after_ms - shown.not_before_ms);
  const share = (ms: number) => Math.min(1, Math.max(0, (ms - shown.not_before_ms) / length));
  const within = (ms: number) => ms >= shown.not_before_ms && ms <= shown.not_after_ms;
  const ari = acme?.ari && acme.ari.end_ms > shown.not_before_ms && acme.ari.start_ms < shown.not_after_ms ? acme.ari : null;
  const next = acme?.next_attempt_ms ?? null;
  const inWindow = ari !== null && next !== null && next >= ari.start_ms && next <= ari.end_ms;
  return {
    now: share(now),
    window: ari && { from: share(ari.start_ms), to: share(ari.end_ms) },
    planned: next !== null && within(next) && !inWindow && share(next) - share(now) > CLOSE_SHARE ? share(next) : null,
  };
}

/** "4 Feb 2027, 08:14". */
export const dateTime = (ms: number, zone: string): string => `${fullDay(ms, zone)}, ${clock(ms, zone)}`;

/** The ends of something; the time of day counts when the whole is short. */
export const edge = (ms: number, length: number, zone: string): string =>
  length < 14 * DAY_MS ? `${shortDay(ms, zone)}, ${clock(ms, zone)}` : fullDay(ms, zone);

/** "in 45 s", "in 12 min", "in 20 days", "now". */
export function until(ms: number): string {
  if (ms < 1000) return words.rightNow;
  const minutes = ms / 60_000;
  if (minutes < 1.5) return words.within(`${Math.round(ms / 1000)} s`);
  if (minutes < 90) return words.within(`${Math.round(minutes)} min`);
  if (minutes < 2880) return words.within(`${Math.round(minutes / 60)} h`);
  return words.within(left(ms).join(' '));
}

/** "0.4 s", "3.4 s", "1 min 12 s" is too exact: "1 min". */
export const took = (ms: number): string => (ms < 10_000 ? `${number(ms / 1000, 1)} s` : duration(ms));

export interface Name {
  name: string;
  /** In the certificate, asked for in vain, or in it without being asked for. */
  state: 'covered' | 'missing' | 'extra';
  /** The pattern that covers it. */
  by?: string;
}

/** Every name that is wanted, then those that the certificate has besides. */
export function namesOf({ wanted, shown }: Certificate): Name[] {
  if (wanted.length === 0) return shown.names.map((name) => ({ name, state: 'covered' }));
  return [
    ...wanted.map((name): Name => {
      const pattern = shown.names.find((one) => plain(one) === plain(name)) ?? shown.names.find((one) => covers(one, name));
      if (pattern === undefined) return { name, state: 'missing' };
      return plain(pattern) === plain(name) ? { name, state: 'covered' } : { name, state: 'covered', by: pattern };
    }),
    ...shown.names.filter((pattern) => !wanted.some((name) => covers(pattern, name))).map((name): Name => ({ name, state: 'extra' })),
  ];
}

/** A star stands for exactly one label (RFC 9525 §6.3). */
export function covers(pattern: string, name: string): boolean {
  const [a, b] = [plain(pattern), plain(name)];
  return a === b || (a.startsWith('*.') && b.includes('.') && !/^[\d.]+$/.test(b) && a.slice(1) === b.slice(b.indexOf('.')));
}

const plain = (name: string): string => name.toLowerCase().replace(/\.$/, '');

/** Why browsers are told to insist on HTTPS, or are not. */
export function hstsWhy({ hsts, shown }: Certificate): string {
  if (hsts) return shown.publicly_trusted ? words.hsts.onTrusted : words.hsts.onAlways;
  return shown.publicly_trusted ? words.hsts.offNever : words.hsts.offUntrusted;
}

/** The next thing that will be tried, in words; null when nothing is. */
export function nextWhy({ next_reason: reason }: Acme): string {
  return (reason && words.nextReason[reason]) || words.nextReason.other || '';
}

export const attemptReason = (attempt: Attempt): string => words.reason[attempt.reason] ?? attempt.reason;

export type Outcome = 'issued' | 'rehearsed' | 'failed';
export const outcome = (attempt: Attempt): Outcome => (!attempt.ok ? 'failed' : attempt.dry_run ? 'rehearsed' : 'issued');

/** What an attempt came to, as a sentence. */
export function outcomeText(attempt: Attempt, zone: string): string {
  if (!attempt.ok) return attempt.text ?? words.failedSomehow;
  if (attempt.dry_run) return words.rehearsed;
  return attempt.issued_until_ms === null ? words.issued : words.issuedUntil(fullDay(attempt.issued_until_ms, zone));
}

/** Is this one of the directories whose limits we know? */
export const isLetsEncrypt = ({ ca }: Acme): boolean => /^acme-v\d+\.api\.letsencrypt\.org$/.test(ca);

export function allowance(acme: Acme): { used: number; of: number | null; text: string } {
  const used = acme.issued_last_7_days;
  if (!isLetsEncrypt(acme)) return { used, of: null, text: words.issuedLately(used) };
  return { used: Math.min(used, WEEKLY_MAX), of: WEEKLY_MAX, text: used >= WEEKLY_MAX ? words.allowanceSpent(used) : words.allowance(used, WEEKLY_MAX) };
}

/** "Try again now" where something has gone wrong or there is nothing yet; else "Renew now". */
export const mustTry = ({ shown, acme }: Certificate): boolean =>
  acme !== null && (acme.stopped !== null || acme.last_error !== null || shown.origin !== 'acme');

/** How long until the gateway is asked again. `askedAgo` counts from the last button. */
export function pause(certificate: Certificate | null, now: number, askedAgo: number): number {
  if (askedAgo < ASKED_MS || certificate?.acme?.running) return SOON_MS;
  // A planned attempt that begins soon is worth a look just after it began.
  const toNext = (certificate?.acme?.next_attempt_ms ?? 0) - now + 1000;
  return toNext > 0 && toNext < CALM_MS ? Math.max(SOON_MS, toNext) : CALM_MS;
}

export interface Asked {
  at: number;
  /** The newest attempt there was, to tell those that come of it. */
  newest: number;
}

/** Has anything come of a button? Then the page may say what, instead of "asked". */
export const cameOf = (asked: Asked | null, { attempts: [newest], running }: Acme): Attempt | null =>
  asked && newest && !running && newest.at_ms > asked.newest ? newest : null;

/** What went wrong with a button, for the person who pressed it. */
export function refusalText(status: number, detail: string): string {
  const because = detail ? words.refusedBecause(detail.replace(/\.$/, '')) : words.refusedSomehow(status);
  // 403 has a second reason: a request that seems to come from another site.
  return status === 403 && detail && !/\badmin\b/.test(detail) ? because : words.refused[String(status)] ?? because;
}

/** `03a1f0` as `03:`, `A1:`, `F0`, the way browsers show it; lines may break between. */
export function pairs(hex: string): string[] {
  const found = /^[0-9a-f]+$/i.test(hex) ? hex.toUpperCase().match(/..?/g) : null;
  return found ? found.map((pair, i) => (i < found.length - 1 ? `${pair}:` : pair)) : [hex];
}

/** The bar in words, for those who do not see it. */
export function lifetimeText(certificate: Certificate, now: number, zone: string): string {
  const { shown, acme } = certificate;
  const length = shown.not_after_ms - shown.not_before_ms;
  const parts = [words.bar.text(edge(shown.not_before_ms, length, zone), edge(shown.not_after_ms, length, zone), String(Math.round(lifetimeOf(certificate, now).now * 100)))];
  if (acme?.ari) parts.push(words.bar.windowText(moment(acme.ari.start_ms, zone, now), moment(acme.ari.end_ms, zone, now)));
  if (acme?.next_attempt_ms) parts.push(words.bar.plannedText(moment(acme.next_attempt_ms, zone, now)));
  return parts.join(' ');
}
