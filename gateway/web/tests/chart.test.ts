import { describe, expect, test } from 'vitest';
import type { Point, Readings } from '../src/api';
import { cursorAfter, nearest } from '../src/chart/cursor';
import { bounds, parseRange, PRESETS, rangeQuery, shifted, tickStep, ticks } from '../src/chart/ranges';
import { yBounds } from '../src/chart/scale';
import { seriesOf } from '../src/chart/series';
import { description, factsOf, sentence } from '../src/chart/summary';
import { pinched } from '../src/chart/touch';
import { fromField, fromWall, toField } from '../src/zone';

const MIN = 60_000;
const bands = { id: '', label: '', soon_from: 1000, now_from: 1400, source: '' };
const zone = 'Europe/Brussels';

describe('the keyboard cursor', () => {
  const go = (key: string, at: number | null, shift = false) => cursorAfter(key, shift, at, 100);
  test('starts at the newest point', () => expect(go('ArrowLeft', null)).toBe(99));
  test('goes one point, ten with shift', () => {
    expect(go('ArrowLeft', 50)).toBe(49);
    expect(go('ArrowRight', 50, true)).toBe(60);
  });
  test('stops at both ends', () => {
    expect(go('ArrowLeft', 3, true)).toBe(0);
    expect(go('ArrowRight', 99)).toBe(99);
  });
  test('Home and End', () => expect([go('Home', 5), go('End', 5)]).toEqual([0, 99]));
  test('leaves other keys and empty charts alone', () => {
    expect(go('Tab', 5)).toBeNull();
    expect(cursorAfter('Home', false, null, 0)).toBeNull();
  });
  test('finds the nearest point to a pointer', () => {
    const points = [{ at: 0 }, { at: 10 }, { at: 30 }];
    expect([-5, 4, 6, 21, 99].map((time) => nearest(points, time))).toEqual([0, 0, 1, 2, 2]);
    expect(nearest([], 1)).toBeNull();
  });
});

describe('the range in the URL', () => {
  const query = (text: string) => rangeQuery(parseRange(new URLSearchParams(text)), new URLSearchParams(text));
  test('24 h is the default and needs no words', () => expect(query('')).toBe(''));
  test('presets by name', () => expect(query('r=7d&m=temperature')).toBe('?m=temperature&r=7d'));
  test('nonsense is the default', () => expect(query('r=99x&from=abc&to=def')).toBe(''));
  test('custom in milliseconds', () => expect(query('from=1000000&to=2000000')).toBe('?from=1000000&to=2000000'));
  test('custom as RFC 3339', () => expect(query('from=1970-01-01T00:00:00Z&to=1970-01-01T01:00:00Z')).toBe('?from=0&to=3600000'));
  test('backwards is nonsense', () => expect(query('from=2000000&to=1000000')).toBe(''));
  test('earlier, and later until now is live again', () => {
    const now = 100 * 3_600_000;
    const earlier = shifted({ preset: PRESETS[0]! }, -1, now);
    expect(bounds(earlier, now)).toEqual({ from: 98 * 3_600_000, to: 99 * 3_600_000 });
    expect(shifted(earlier, 1, now)).toEqual({ preset: PRESETS[0] });
  });
});

describe('wall clock', () => {
  const iso = (ms: number) => new Date(ms).toISOString();
  test('the spring day has 23 hours and every label is on the hour', () => {
    const from = Date.parse('2026-03-28T23:00Z');
    const found = ticks(from, from + 23 * 60 * MIN, { minutes: 180 }, zone);
    expect(found.map((at) => toField(at, zone).slice(11))).toEqual(['00:00', '03:00', '06:00', '09:00', '12:00', '15:00', '18:00', '21:00', '00:00']);
  });
  test('the autumn day has 25', () => {
    const from = Date.parse('2026-10-24T22:00Z');
    expect(ticks(from, from + 25 * 60 * MIN, { minutes: 360 }, zone).map((at) => toField(at, zone).slice(11)))
      .toEqual(['00:00', '06:00', '12:00', '18:00', '00:00']);
  });
  test('a skipped hour becomes the one after, a repeated one the first', () => {
    expect(iso(fromWall({ year: 2026, month: 3, day: 29, hour: 2, minute: 30 }, zone))).toBe('2026-03-29T01:30:00.000Z');
    expect(iso(fromWall({ year: 2026, month: 10, day: 25, hour: 2, minute: 30 }, zone))).toBe('2026-10-25T00:30:00.000Z');
  });
  test('fields of a form survive the way there and back', () => {
    expect(toField(fromField('2026-07-01T08:15', zone)!, zone)).toBe('2026-07-01T08:15');
    expect(fromField('tomorrow', zone)).toBeNull();
  });
  test('months and days tick at local midnight', () => {
    const from = Date.parse('2026-01-15T00:00Z');
    expect(ticks(from, from + 100 * 86_400_000, { months: 1 }, zone).map(iso))
      .toEqual(['2026-01-31T23:00:00.000Z', '2026-02-28T23:00:00.000Z', '2026-03-31T22:00:00.000Z']);
  });
  test('a day has no more labels than fit', () => expect(tickStep(0, 86_400_000, 12)).toEqual({ minutes: 120 }));
});

describe('the y axis', () => {
  test('starts at outdoor air and shows at least 400 ppm', () => expect(yBounds('co2', 500, 620)).toEqual([400, 850]));
  test('grows to fit', () => expect(yBounds('co2', 450, 2300)[1]).toBeGreaterThanOrEqual(2300));
  test('keeps values under 400 visible', () => expect(yBounds('co2', 310, 500)[0]).toBe(300));
  test('does not zoom into the noise of a thermometer', () => {
    const [low, high] = yBounds('temperature', 21.1, 21.2);
    expect(high - low).toBeGreaterThan(4);
  });
  test('a quantity that cannot be negative gets no negative axis', () => expect(yBounds('tvoc', 0, 3)[0]).toBe(0));
});

describe('the sentence', () => {
  const readings = (values: number[], step_s = 300): Readings => ({
    device: 'd', metric: 'co2', unit: 'ppm', step_s, gaps: [],
    points: values.map((v, i): Point => (step_s ? [i * step_s * 1000, v, v, v, 30] : [i * 10_000, v])),
  });
  const say = (values: number[], to = values.length * 5 * MIN) => {
    const series = seriesOf(readings(values), 0, to, 10);
    return sentence(series, factsOf(series, bands, 10), bands);
  };
  test('adds up the time above', () => expect(say([900, 1100, 1200, 900])).toBe('Above 1000 ppm for 10 min in this range.'));
  test('hours and minutes', () => expect(say(Array(17).fill(1100))).toBe('Above 1000 ppm for 1 h 25 min in this range.'));
  test('says so when it never was', () => expect(say([900, 800])).toBe('Never above 1000 ppm in this range.'));
  test('other quantities have a span', () => {
    const warm: Readings = { ...readings([20.5, 22]), metric: 'temperature', unit: '°C' };
    const series = seriesOf(warm, 0, 10 * MIN, 10);
    expect(sentence(series, factsOf(series, bands, 10), bands, 1)).toBe('Between 20.5 and 22.0 °C in this range.');
  });
  test('a mean does not hide a peak', () => {
    const one: Readings = { ...readings([]), points: [[0, 700, 900, 1250, 30]] };
    const series = seriesOf(one, 0, 5 * MIN, 10);
    expect(sentence(series, factsOf(series, bands, 10), bands)).toBe('Below 1000 ppm on average, 1250 ppm at most in this range.');
  });
  test('admits that half the range is unknown', () => {
    expect(say([900, 800, 800, 800], 40 * MIN)).toBe('Never above 1000 ppm in this range. Only 50 % of that time has data.');
  });
  test('no data', () => expect(say([], 40 * MIN)).toBe('No data in this range.'));
  test('raw readings hold until the next one', () => {
    const series = seriesOf(readings([1100, 1100, 1100, 1100, 1100, 1100, 1100, 900, 900], 0), 0, 90_000, 10);
    expect(factsOf(series, bands, 10)?.aboveMs).toBe(70_000);
  });
  test('silence after a bad value is not counted as bad air', () => {
    const series = seriesOf(readings([1100], 0), 0, 3_600_000, 10);
    expect(factsOf(series, bands, 10)?.aboveMs).toBe(10_000);
  });
  test('the description names median, maximum and when', () => {
    const series = seriesOf(readings([900, 1480, 742, 700]), 0, 20 * MIN, 10);
    expect(description(series, factsOf(series, bands, 10), bands, 0, zone))
      .toBe('Between 01:00 and 01:20: median 900 ppm, maximum 1480 ppm at 01:07. Above 1000 ppm for 5 min in this range.');
  });
});

test('two fingers keep the times they hold', () => {
  expect(pinched([0, 1000], [25, 75], [0, 100], 100)).toEqual([250, 750]);
  expect(pinched([0, 1000], [0, 50], [0, 100], 100)).toEqual([0, 500]);
});
