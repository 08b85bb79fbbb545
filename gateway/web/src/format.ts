// Numbers, ages, durations and times as text. Pure: time and zone are arguments.

import { locale } from './locale';
import { strings } from './strings';

const numbers = new Map<number, Intl.NumberFormat>();
const dates = new Map<string, Intl.DateTimeFormat>();

/** A number with fixed decimals. Up to 9999 without a separator: "1480" reads better at arm's length. */
export function number(value: number, precision = 0): string {
  const text = fixed(value, precision);
  return text.startsWith('-') ? `−${text.slice(1)}` : text;
}

function fixed(value: number, precision: number): string {
  // The first question to Intl takes milliseconds; for English the answer is this.
  if (locale.startsWith('en')) return value.toFixed(precision);
  let format = numbers.get(precision);
  if (!format) {
    format = new Intl.NumberFormat(locale, {
      minimumFractionDigits: precision, maximumFractionDigits: precision, useGrouping: false,
    });
    numbers.set(precision, format);
  }
  return format.format(value);
}

export function signed(value: number, precision = 0): string {
  const text = number(Math.abs(value), precision);
  if (Number(text.replace(',', '.')) === 0) return `±${text}`;
  return value > 0 ? `+${text}` : `−${text}`;
}

/** "12 s ago", "3 min ago", "2 h ago", "4 d ago". */
export function age(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return strings.ago(`${s} s`);
  if (s < 5400) return strings.ago(`${Math.round(s / 60)} min`);
  if (s < 129_600) return strings.ago(`${Math.round(s / 3600)} h`);
  return strings.ago(`${Math.round(s / 86_400)} d`);
}

/** "45 s", "25 min", "1 h 25 min", "3 d 4 h": two units at most. */
export function duration(ms: number): string {
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  const min = Math.round(s / 60);
  if (min < 60) return `${min} min`;
  if (min < 2880) return join(Math.floor(min / 60), 'h', min % 60, 'min');
  const h = Math.round(min / 60);
  return join(Math.floor(h / 24), 'd', h % 24, 'h');
}

function join(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** "08:14". Always 24 hours: school timetables and log files use it. */
export const clock = (ms: number, zone: string): string =>
  date(ms, zone, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

export const clockSeconds = (ms: number, zone: string): string =>
  date(ms, zone, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export const day = (ms: number, zone: string): string =>
  date(ms, zone, { weekday: 'short', day: 'numeric', month: 'short' });

export const month = (ms: number, zone: string): string => date(ms, zone, { month: 'short' });
export const year = (ms: number, zone: string): string => date(ms, zone, { year: 'numeric' });
export const shortDay = (ms: number, zone: string): string => date(ms, zone, { day: 'numeric', month: 'short' });
export const fullDay = (ms: number, zone: string): string => date(ms, zone, { day: 'numeric', month: 'short', year: 'numeric' });
export const weekday = (ms: number, zone: string): string => date(ms, zone, { weekday: 'short', day: 'numeric' });

/** A time with as much date as the reader needs: "08:14" today, else "Mon 16 Nov, 08:14". */
export function moment(ms: number, zone: string, now: number): string {
  return day(ms, zone) === day(now, zone) && Math.abs(now - ms) < 172_800_000
    ? clock(ms, zone)
    : `${day(ms, zone)}, ${clock(ms, zone)}`;
}

/** What a bucket stands for: "13:45–14:00", with the day when it is not today, or days. */
export function interval(start: number, lengthMs: number, zone: string, now: number): string {
  if (lengthMs >= 86_400_000) {
    const last = start + lengthMs - 1;
    return day(start, zone) === day(last, zone) ? day(start, zone) : `${day(start, zone)} – ${day(last, zone)}`;
  }
  return `${moment(start, zone, now)}–${clock(start + lengthMs, zone)}`;
}

/** "18:48–20:15", naming days only as far as they differ from `now` and from each other. */
export function between(from: number, to: number, zone: string, now: number): [string, string] {
  const second = day(from, zone) === day(to, zone) ? clock(to, zone) : moment(to, zone, now);
  return [moment(from, zone, now), second];
}

function date(ms: number, zone: string, options: Intl.DateTimeFormatOptions): string {
  const key = zone + JSON.stringify(options);
  let format = dates.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat(dateLocale, { timeZone: zone, ...options });
    dates.set(key, format);
  }
  return format.format(ms);
}

// Words on the page are English; day and month names follow, in day-month order unless the
// visitor's own English says otherwise.
const dateLocale = locale.startsWith('en') && locale !== 'en' ? locale : 'en-GB';
