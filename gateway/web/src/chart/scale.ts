// How high the y axis goes. Pure.

import { isGas } from '../band';

/** The floor of CO₂ charts: outdoor air, so that a full room looks full. */
const FLOOR_PPM = 400;
const MIN_SPAN_PPM = 400;
export const OUTDOOR_PPM = 425;

/** Smallest spans that are worth a full chart; noise below them stays small. */
const MIN_SPAN: Record<string, number> = { temperature: 4, humidity: 10, pressure: 10 };

export function yBounds(metric: string, min: number | null, max: number | null): [number, number] {
  if (isGas(metric)) {
    // Values under outdoor air are a calibration problem; they must stay visible.
    const low = min !== null && min < FLOOR_PPM ? Math.floor(min / 50) * 50 : FLOOR_PPM;
    const high = Math.max(low + MIN_SPAN_PPM, max ?? 0);
    return [low, Math.ceil((high + (high - low) * 0.06) / 50) * 50];
  }
  if (min === null || max === null) return [0, 1];
  const span = Math.max(max - min, MIN_SPAN[metric] ?? Math.max(Math.abs(max) * 0.05, 1e-6));
  const middle = (min + max) / 2;
  const low = middle - span * 0.58;
  // A quantity that cannot be negative does not get a negative axis.
  return [min >= 0 && low < 0 ? 0 : low, middle + span * 0.58];
}
