// What a chart says in one sentence, for everybody and for those who cannot see it. Pure.

import type { Bands } from '../api';
import { hasBands } from '../band';
import { duration, moment, number } from '../format';
import { strings } from '../strings';
import { gapAfter, intervalOf, type Series } from './series';

export interface Facts {
  median: number;
  min: number;
  max: number;
  maxAt: number;
  /** Time with data above "air soon". */
  aboveMs: number;
  /** Share of the range that has data, 0 to 1. */
  coverage: number;
}

export function factsOf(series: Series, bands: Bands, periodS: number | null): Facts | null {
  const { samples } = series;
  const first = samples[0];
  if (!first) return null;
  let top = first;
  let min = first.min;
  let aboveMs = 0;
  let coveredMs = 0;
  const interval = intervalOf(series.readings, periodS);
  const limit = gapAfter(interval);
  samples.forEach((sample, index) => {
    if (sample.max > top.max) top = sample;
    if (sample.min < min) min = sample.min;
    // A bucket stands for its own length; a raw value holds until the next one, unless that is a gap.
    const next = samples[index + 1];
    const pause = next ? next.at - sample.at : series.to - sample.at;
    const lasts = series.readings.step_s > 0
      ? series.readings.step_s * 1000
      : pause <= limit ? pause : Math.min(interval, pause);
    coveredMs += lasts;
    if (sample.mean >= bands.soon_from) aboveMs += lasts;
  });
  const means = samples.map((sample) => sample.mean).sort((a, b) => a - b);
  return {
    median: means[means.length >> 1] as number,
    min,
    max: top.max,
    maxAt: top.at,
    aboveMs,
    coverage: Math.min(1, coveredMs / (series.to - series.from)),
  };
}

/** "Above 1000 ppm for 1 h 25 min in the last 24 h." Bare of the current word, which the page puts in front. */
export function sentence(
  series: Series, facts: Facts | null, bands: Bands, precision = 0, when = strings.sentence.inRange,
): string {
  if (!facts) return strings.sentence.noData;
  const parts: string[] = [];
  if (hasBands(series.readings.metric)) {
    const level = `${bands.soon_from} ${series.readings.unit}`;
    const max = `${number(facts.max)} ${series.readings.unit}`;
    const coarse = series.readings.step_s > 900;
    // Less than a minute is a breath on the sensor, not bad air. A mean can hide a peak, so "never"
    // is only said of the maximum.
    parts.push(
      facts.aboveMs >= 60_000 ? strings.sentence.above(level, (coarse ? strings.sentence.about : '') + duration(facts.aboveMs), when)
        : facts.max < bands.soon_from ? strings.sentence.neverAbove(level, when)
          : series.readings.step_s > 0 ? strings.sentence.meanBelow(level, max, when) : strings.sentence.briefly(level, when),
    );
  } else {
    parts.push(strings.sentence.between(number(facts.min, precision), `${number(facts.max, precision)} ${series.readings.unit}`.trim(), when));
  }
  if (facts.coverage < 0.75) parts.push(strings.sentence.coverage(facts.coverage < 0.01 ? strings.sentence.under(1) : String(Math.floor(facts.coverage * 100))));
  return parts.join(' ');
}

/** The chart's accessible summary: "Between 8:00 and 16:00: median 742, maximum 1480 at 11:20." */
export function description(
  series: Series, facts: Facts | null, bands: Bands, precision: number, zone: string,
): string {
  if (!facts) return strings.sentence.noData;
  const value = (n: number) => `${number(n, precision)} ${series.readings.unit}`;
  const when = (ms: number) => moment(ms, zone, series.to);
  const spread = strings.sentence.spread(
    when(series.from), when(series.to), value(facts.median), value(facts.max), when(facts.maxAt),
  );
  return `${spread} ${sentence(series, facts, bands, precision)}`.trim();
}
