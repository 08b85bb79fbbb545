// Names and precision of the quantities. The gateway's list is the truth; until it has arrived
// (it is asked for on room pages only) the catalogue's names and a usual precision serve.

import { signal } from '@preact/signals';
import { metrics as fetchMetrics, type Method, type Metric } from './api';
import { strings } from './strings';

const catalogue = signal<ReadonlyMap<string, Metric>>(new Map());
let asked = false;

export function askForQuantities(): void {
  if (asked) return;
  asked = true;
  fetchMetrics().then(
    (list) => (catalogue.value = new Map(list.map((metric) => [metric.name, metric]))),
    () => (asked = false),
  );
}

const USUAL: Record<string, { unit: string; precision: number }> = {
  co2: { unit: 'ppm', precision: 0 },
  eco2: { unit: 'ppm', precision: 0 },
  temperature: { unit: '°C', precision: 1 },
  humidity: { unit: '%', precision: 0 },
};

export const label = (metric: string): string =>
  catalogue.value.get(metric)?.label ?? strings.metric[metric] ?? metric;

export const unit = (metric: string): string => USUAL[metric]?.unit ?? catalogue.value.get(metric)?.unit ?? '';

export const precision = (metric: string): number =>
  USUAL[metric]?.precision ?? catalogue.value.get(metric)?.precision ?? 0;

export const method = (metric: string): Method =>
  catalogue.value.get(metric)?.method ?? (metric === 'eco2' ? 'estimated' : 'measured');
