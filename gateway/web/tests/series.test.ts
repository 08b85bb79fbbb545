import { describe, expect, test } from 'vitest';
import type { Point, Readings } from '../src/api';
import { appended, columns, seriesOf } from '../src/chart/series';

const MIN = 60_000;
const raw = (minutes: number[], gaps: [number, number][] = []): Readings => ({
  device: 'd', metric: 'co2', unit: 'ppm', step_s: 0, gaps, points: minutes.map((m): Point => [m * MIN, 600 + m]),
});
const gapsOf = (readings: Readings, from: number, to: number, periodS = 60) =>
  seriesOf(readings, from * MIN, to * MIN, periodS).gaps.map((gap) => `${gap.from / MIN}-${gap.to / MIN}`).join(' ');

describe('gaps', () => {
  test('none while readings keep coming', () => expect(gapsOf(raw([1, 2, 3, 4, 5]), 0, 6)).toBe(''));
  test('five minutes of silence is still no gap at a short period', () => expect(gapsOf(raw([0, 5, 10]), 0, 10)).toBe(''));
  test('more is', () => expect(gapsOf(raw([0, 6, 10]), 0, 10)).toBe('0-6'));
  test('a slow sensor may be silent for three periods', () => expect(gapsOf(raw([0, 30, 60]), 0, 60, 600)).toBe(''));
  test('the last value is not extended to now', () => expect(gapsOf(raw([0, 1, 2]), 0, 30)).toBe('2-30'));
  test('nor the first one back to the start', () => expect(gapsOf(raw([20, 21]), 0, 22)).toBe('0-20'));
  test('no points at all is one gap', () => expect(gapsOf(raw([]), 0, 60)).toBe('0-60'));
  test('those of the gateway count and overlap is merged', () =>
    expect(gapsOf(raw([0, 2, 30, 31], [[2 * MIN, 29 * MIN]]), 0, 31)).toBe('2-30'));
  test('are cut to the range', () => expect(gapsOf(raw([11, 12], [[-50 * MIN, 11 * MIN]]), 10, 13)).toBe('10-11'));
});

describe('columns', () => {
  test('have a hole where the gap is, and only there', () => {
    const series = seriesOf(raw([0, 1, 20, 21]), 0, 21 * MIN, 60);
    expect(columns(series).mean).toEqual([600, 601, null, 620, 621]);
  });
  test('two gaps in a row of single points', () => {
    const series = seriesOf(raw([0, 20, 40]), 0, 40 * MIN, 60);
    expect(columns(series).mean).toEqual([600, null, 620, null, 640]);
  });
});

test('a gap that begins inside a bucket leaves its mean on the line', () => {
  const points = [0, 2, 4, 60, 62].map((m): Point => [m * MIN, 590, 600, 610, 2]);
  const readings: Readings = { device: 'd', metric: 'co2', unit: 'ppm', step_s: 120, gaps: [[4 * MIN, 61 * MIN]], points };
  expect(columns(seriesOf(readings, 0, 64 * MIN, 60)).mean).toEqual([600, 600, 600, null, 600, 600]);
});

test('a pause shorter than a bucket does not break the line', () => {
  const day = (start: number): Point => [start * 1440 * MIN, 500, 600, 700, 100];
  const readings: Readings = { device: 'd', metric: 'co2', unit: 'ppm', step_s: 86_400, gaps: [[1430 * MIN, 1500 * MIN]], points: [day(0), day(1)] };
  const series = seriesOf(readings, 0, 2880 * MIN, 10);
  expect(series.gaps).toHaveLength(1);
  expect(columns(series).mean).toEqual([600, 600]);
});

describe('buckets', () => {
  const bucket = (start: number, mean: number): Point => [start * MIN, mean - 10, mean, mean + 10, 6];
  const buckets: Readings = { device: 'd', metric: 'co2', unit: 'ppm', step_s: 300, gaps: [], points: [bucket(0, 600), bucket(5, 700)] };
  test('are drawn in their middle but never after now', () => {
    expect(seriesOf(buckets, 0, 6 * MIN, 10).samples.map((sample) => sample.at / MIN)).toEqual([2.5, 6]);
  });
  test('take a live reading into mean, minimum, maximum and count', () => {
    expect(appended(buckets, 7 * MIN, 1050).points[1]).toEqual([5 * MIN, 690, 750, 1050, 7]);
  });
  test('a reading after the last one opens the next', () => {
    expect(appended(buckets, 11 * MIN, 800).points[2]).toEqual([10 * MIN, 800, 800, 800, 1]);
  });
  test('a late reading goes back to its own', () => {
    expect(appended(buckets, 1 * MIN, 670).points[0]).toEqual([0, 590, 610, 670, 7]);
  });
  test('the mean is only of buckets with data', () => {
    const sparse = { ...buckets, points: [bucket(0, 600), bucket(60, 700)] };
    expect(gapsOf(sparse, 0, 65, 10)).toBe('5-60');
  });
});

describe('raw readings', () => {
  test('stay in time order when one comes late', () => {
    expect(appended(raw([1, 3]), 2 * MIN, 1).points.map((point) => point[0] / MIN)).toEqual([1, 2, 3]);
  });
  test('that were sent twice count once', () => expect(appended(raw([1, 3]), 3 * MIN, 1).points.length).toBe(2));
  test('that arrive in an open gap end it there', () => {
    expect(appended(raw([1], [[1 * MIN, 60 * MIN]]), 40 * MIN, 1).gaps).toEqual([[1 * MIN, 40 * MIN]]);
  });
});
