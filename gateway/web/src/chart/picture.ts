// Everything one drawing of the chart depends on, and the axis labels that follow from it. Pure.

import type { Bands } from '../api';
import { clock, clockSeconds, month, number, shortDay, weekday, year } from '../format';
import { toWall } from '../zone';
import { tickStep, ticks } from './ranges';
import type { Series } from './series';

export interface Picture {
  series: Series;
  /** Null for quantities that have no bands. */
  bands: Bands | null;
  /** Where to draw outdoor air, if that makes sense. */
  outdoor: number | null;
  y: [number, number];
  precision: number;
  zone: string;
}

export interface Tick {
  at: number;
  text: string;
}

/** Times along the x axis. Midnights say the day, the rest the time. */
export function tickLabels({ series: { from, to }, zone }: Picture, width: number): Tick[] {
  if (to - from < 120_000) return [{ at: (from + to) / 2, text: clockSeconds((from + to) / 2, zone) }];
  const step = tickStep(from, to, Math.max(3, Math.floor((width - 60) / 58)));
  return ticks(from, to, step, zone).map((at) => {
    // Half a label would be cut off at the edge; the grid line stays.
    if (((to - at) / (to - from)) * (width - 64) < 8) return { at, text: '' };
    const wall = toWall(at, zone);
    if ('minutes' in step) {
      const midnight = wall.hour === 0 && wall.minute === 0;
      return { at, text: midnight ? `${clock(at, zone)}\n${weekday(at, zone)}` : clock(at, zone) };
    }
    if ('days' in step) return { at, text: (to - from) > 10 * 86_400_000 ? shortDay(at, zone) : weekday(at, zone) };
    return { at, text: wall.month === 1 ? `${month(at, zone)}\n${year(at, zone)}` : month(at, zone) };
  });
}

const NICE = [1, 2, 2.5, 5, 10];

export function yTicks({ y: [low, high], precision }: Picture): Tick[] {
  const rough = (high - low) / 7;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * (NICE.find((n) => n * power >= rough) ?? 10);
  const digits = Math.max(0, Math.min(precision, -Math.floor(Math.log10(step) + 1e-9) + (step % power ? 1 : 0)));
  const found: Tick[] = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) {
    found.push({ at, text: number(at, digits) });
  }
  return found;
}
