// How a room stands, and the shape and word that always go with the colour. Pure.

import type { Band, Bands, Device } from './api';

/** What a pane shows: a band, or the reason there is none. */
export type Standing = Band | 'none' | 'offline';

/** The order a teacher wants: where to act, then what is fine, then what cannot be known. */
export const STANDINGS: readonly Standing[] = ['now', 'soon', 'good', 'none', 'offline'];

/** Shapes differ without colour (WCAG 1.4.1). Text presentation: no emoji fonts. */
export const SHAPE: Record<Standing, string> = { now: '■', soon: '▲', good: '●', none: '◌', offline: '✕' };

export const rank = (standing: Standing): number => STANDINGS.indexOf(standing);

export function standing(device: Device): Standing {
  if (device.presence === 'offline') return 'offline';
  if (device.presence === 'never') return 'none';
  return device.band ?? 'none';
}

/** The band of a single value in the past. Without hysteresis: that needs the history before it. */
export function bandOf(value: number, bands: Bands): Band {
  return value >= bands.now_from ? 'now' : value >= bands.soon_from ? 'soon' : 'good';
}

/** Bands are about CO₂. A temperature has none, nor does an estimate: it rises with a spilt drink. */
export const hasBands = (metric: string): boolean => metric === 'co2';

/** Drawn on a scale that begins at outdoor air. */
export const isGas = (metric: string): boolean => metric === 'co2' || metric === 'eco2';

/**
 * How thick the air looks, 0 (outdoor air) to 1 (well past "air now").
 *
 * Continuous, so a room is seen filling up before its band changes.
 */
export function haze(value: number, bands: Bands): number {
  const fresh = 425;
  const share = (value - fresh) / (bands.now_from * 1.25 - fresh);
  return Math.round(Math.min(1, Math.max(0, share)) * 100) / 100;
}
