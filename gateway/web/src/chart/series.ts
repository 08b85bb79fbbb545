// The data of one chart: points, gaps, and how a live reading joins them. Pure.

import type { Point, Readings } from '../api';

/** A point in one shape for raw and bucketed answers. `at` is where it is drawn, `start` what it is called. */
export interface Sample {
  at: number;
  start: number;
  min: number;
  mean: number;
  max: number;
  count: number;
}

export interface Gap {
  from: number;
  to: number;
}

export interface Series {
  readings: Readings;
  from: number;
  to: number;
  samples: Sample[];
  gaps: Gap[];
}

const MIN_GAP_MS = 5 * 60_000;

/** Longer silence than this is a gap: three intervals, but never under five minutes. */
export const gapAfter = (intervalMs: number): number => Math.max(3 * intervalMs, MIN_GAP_MS);

/** The interval at which points are expected. */
export const intervalOf = (readings: Readings, periodS: number | null): number =>
  Math.max(readings.step_s, periodS ?? 0) * 1000;

export function seriesOf(readings: Readings, from: number, to: number, periodS: number | null): Series {
  const samples = readings.points
    .map((point) => sampleOf(point, readings.step_s, to))
    .filter((sample) => sample.at >= from - readings.step_s * 1000 && sample.at <= to);
  return { readings, from, to, samples, gaps: gapsOf(readings, samples, from, to, periodS) };
}

/** A bucket is drawn at its middle, but never later than the range (now) goes. */
function sampleOf(point: Point, stepS: number, to: number): Sample {
  if (point.length === 2) return { at: point[0], start: point[0], min: point[1], mean: point[1], max: point[1], count: 1 };
  const [start, min, mean, max, count] = point;
  return { at: Math.max(start, Math.min(start + stepS * 500, to)), start, min, mean, max, count };
}

/**
 * The gateway's gaps, those that only show from here (readings that arrived live), and silence at
 * either end. Overlaps are merged.
 */
export function gapsOf(
  readings: Readings, samples: readonly Sample[], from: number, to: number, periodS: number | null,
): Gap[] {
  const interval = intervalOf(readings, periodS);
  const limit = gapAfter(interval);
  const half = readings.step_s * 500;
  const gaps: Gap[] = readings.gaps.map(([start, end]) => ({ from: start, to: end }));
  let before: Sample | undefined;
  for (const sample of samples) {
    if (before && sample.at - before.at > limit) gaps.push({ from: before.at + half, to: sample.at - half });
    before = sample;
  }
  const first = samples[0];
  if (!first || !before) gaps.push({ from, to });
  else {
    if (first.at - from > limit) gaps.push({ from, to: first.at - half });
    if (to - before.at > limit) gaps.push({ from: before.at + half, to });
  }
  return merged(gaps.map((gap) => ({ from: Math.max(gap.from, from), to: Math.min(gap.to, to) })));
}

function merged(gaps: Gap[]): Gap[] {
  const result: Gap[] = [];
  for (const gap of gaps.filter((g) => g.to > g.from).sort((a, b) => a.from - b.from)) {
    const last = result[result.length - 1];
    if (last && gap.from <= last.to) last.to = Math.max(last.to, gap.to);
    else result.push({ ...gap });
  }
  return result;
}

/** Columns for drawing, with a hole wherever a gap lies between two points. */
export function columns(series: Series): { x: number[]; mean: (number | null)[]; min: (number | null)[]; max: (number | null)[] } {
  const x: number[] = [];
  const mean: (number | null)[] = [];
  const min: (number | null)[] = [];
  const max: (number | null)[] = [];
  const push = (at: number, sample: Sample | null) => {
    x.push(at);
    mean.push(sample && sample.mean);
    min.push(sample && sample.min);
    max.push(sample && sample.max);
  };
  // A pause shorter than a bucket lies inside means on both sides of it; the line may pass.
  const step = Math.max(1, series.readings.step_s * 1000);
  const gaps = series.gaps.filter((gap) => gap.to - gap.from >= step);
  let gap = 0;
  let before = -Infinity;
  for (const sample of series.samples) {
    while (gap < gaps.length && (gaps[gap] as Gap).to <= before) gap++;
    const between = gaps[gap];
    // A gap may begin or end inside a bucket, whose mean still stands on its side of it.
    if (x.length > 0 && between && between.from < sample.start) push((x[x.length - 1]! + sample.at) / 2, null);
    push(sample.at, sample);
    before = sample.start + step - 1;
  }
  return { x, mean, min, max };
}

/** Adds a reading in time order: its own point when raw, into its bucket otherwise. */
export function appended(readings: Readings, at: number, value: number): Readings {
  const points = [...readings.points];
  if (readings.step_s === 0) {
    let index = points.length;
    while (index > 0 && (points[index - 1] as Point)[0] > at) index--;
    if (points[index - 1]?.[0] === at) return readings;
    points.splice(index, 0, [at, value]);
  } else {
    const step = readings.step_s * 1000;
    const start = Math.floor(at / step) * step;
    let index = points.length;
    while (index > 0 && (points[index - 1] as Point)[0] > start) index--;
    const bucket = points[index - 1];
    if (bucket && bucket.length === 5 && bucket[0] === start) {
      const [, min, mean, max, count] = bucket;
      points[index - 1] = [
        start, Math.min(min, value), mean + (value - mean) / (count + 1), Math.max(max, value), count + 1,
      ];
    } else {
      points.splice(index, 0, [start, value, value, value, 1]);
    }
  }
  // A reading inside a gap closes it from its side: the device was heard there after all.
  const gaps = readings.gaps.flatMap(([from, to]): [number, number][] => {
    if (at < from || at >= to) return [[from, to]];
    return gapAfter(0) < at - from ? [[from, at]] : [];
  });
  return { ...readings, points, gaps };
}
