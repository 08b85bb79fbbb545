// Which stretch of time the room page shows, from and to its URL. Pure.

import { fromWall, toWall } from '../zone';

export interface Preset {
  id: string;
  label: string;
  ms: number;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** In the order of the keys 1 to 6. */
export const PRESETS: readonly Preset[] = [
  { id: '1h', label: '1 h', ms: HOUR },
  { id: '6h', label: '6 h', ms: 6 * HOUR },
  { id: '24h', label: '24 h', ms: DAY },
  { id: '7d', label: '7 d', ms: 7 * DAY },
  { id: '30d', label: '30 d', ms: 30 * DAY },
  { id: '1y', label: '1 y', ms: 365 * DAY },
];

export const DEFAULT_PRESET = PRESETS[2] as Preset;

/** A preset ends now and follows the clock; a custom range stays where it is. */
export type Range = { preset: Preset } | { from: number; to: number };

export const isLive = (range: Range): range is { preset: Preset } => 'preset' in range;

export function parseRange(params: URLSearchParams): Range {
  const from = instant(params.get('from'));
  const to = instant(params.get('to'));
  if (from !== null && to !== null && to - from >= MIN_SPAN) return { from, to };
  return { preset: PRESETS.find((preset) => preset.id === params.get('r')) ?? DEFAULT_PRESET };
}

/** Below this a drag was a click, and a chart has nothing to show. */
export const MIN_SPAN = 10_000;

function instant(text: string | null): number | null {
  if (!text) return null;
  const ms = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  return Number.isFinite(ms) ? ms : null;
}

export function bounds(range: Range, now: number): { from: number; to: number } {
  return isLive(range) ? { from: now - range.preset.ms, to: now } : range;
}

/** The query string for a range, keeping what else the URL says. */
export function rangeQuery(range: Range, params: URLSearchParams): string {
  const next = new URLSearchParams(params);
  for (const key of ['r', 'from', 'to']) next.delete(key);
  if (!isLive(range)) {
    next.set('from', String(Math.round(range.from)));
    next.set('to', String(Math.round(range.to)));
  } else if (range.preset !== DEFAULT_PRESET) {
    next.set('r', range.preset.id);
  }
  const text = next.toString();
  return text && `?${text}`;
}

/** The stretch before or after this one; one that would pass now is live again. */
export function shifted(range: Range, direction: -1 | 1, now: number): Range {
  const { from, to } = bounds(range, now);
  const span = to - from;
  const next = { from: from + direction * span, to: to + direction * span };
  if (next.to < now - span / 20) return next;
  const preset = PRESETS.find((candidate) => candidate.ms === span);
  return preset ? { preset } : { from: now - span, to: now };
}

export type Step =
  | { minutes: number }
  | { days: number }
  | { months: number };

const STEPS: readonly Step[] = [
  { minutes: 1 }, { minutes: 2 }, { minutes: 5 }, { minutes: 10 }, { minutes: 15 }, { minutes: 30 },
  { minutes: 60 }, { minutes: 120 }, { minutes: 180 }, { minutes: 360 }, { minutes: 720 },
  { days: 1 }, { days: 2 }, { days: 7 }, { months: 1 }, { months: 3 }, { months: 12 },
];

const stepMs = (step: Step): number =>
  'minutes' in step ? step.minutes * 60_000 : 'days' in step ? step.days * DAY : step.months * 30.4 * DAY;

/** The finest step that gives at most `most` ticks. */
export function tickStep(from: number, to: number, most: number): Step {
  return STEPS.find((step) => (to - from) / stepMs(step) <= most) ?? (STEPS[STEPS.length - 1] as Step);
}

/**
 * Round wall-clock times inside the range. Counted on the wall, not in milliseconds, so that
 * labels stay round on the 23- and 25-hour days.
 */
export function ticks(from: number, to: number, step: Step, zone: string): number[] {
  const wall = toWall(from, zone);
  const found: number[] = [];
  const add = (at: number) => {
    if (at >= from && at <= to && at > (found[found.length - 1] ?? -Infinity)) found.push(at);
    return at <= to && found.length < 100;
  };
  if ('minutes' in step) {
    for (let day = 0; day < 100; day++) {
      const date = { year: wall.year, month: wall.month, day: wall.day + day };
      for (let minute = 0; minute < 1440; minute += step.minutes) {
        // Skips the part of the first day that lies before the range without asking Intl for it.
        if (day === 0 && minute < wall.hour * 60 + wall.minute - 120) continue;
        if (!add(fromWall({ ...date, minute }, zone))) return found;
      }
    }
  } else if ('days' in step) {
    for (let day = 0; add(fromWall({ year: wall.year, month: wall.month, day: wall.day + day }, zone)); day += step.days);
  } else {
    const first = wall.month - 1 - ((wall.month - 1) % step.months);
    for (let month = first; add(fromWall({ year: wall.year, month: month + 1, day: 1 }, zone)); month += step.months);
  }
  return found;
}
