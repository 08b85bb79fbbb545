// The gateway's JSON shapes and the only place that calls fetch.

export type Presence = 'online' | 'offline' | 'never';
export type Band = 'good' | 'soon' | 'now';
export type Method = 'measured' | 'estimated';
export type State = 'ok' | 'warming_up' | 'conditioning' | 'calibrating' | 'suspect' | 'failed';

export interface Bands {
  id: string;
  label: string;
  soon_from: number;
  now_from: number;
  source: string;
}

export interface Site {
  name: string;
  time_zone: string;
  public: boolean;
  signed_in: boolean;
  bands: Bands;
}

export interface Headline {
  metric: string;
  value: number;
  unit: string;
  method: Method;
}

export interface Last {
  time: string;
  time_ms: number;
  state: State;
  values: Record<string, number>;
}

export interface Spark {
  metric: string;
  step_s: number;
  from_ms: number;
  values: (number | null)[];
}

export interface Device {
  id: string;
  name: string | null;
  room: string | null;
  simulated: boolean;
  presence: Presence;
  period_s: number | null;
  age_s: number | null;
  band: Band | null;
  trend_per_5min: number | null;
  headline: Headline | null;
  last: Last | null;
  spark: Spark | null;
}

export interface Snapshot {
  server_time: string;
  server_time_ms: number;
  site: Site;
  devices: Device[];
}

/** Boot data in the page: a snapshot, and on a room page the headline's readings. */
export interface Boot extends Snapshot {
  readings?: Readings | null;
}

/** `[t, value]` when raw, `[t, min, mean, max, count]` when bucketed. */
export type Point = [number, number] | [number, number, number, number, number];

export interface Readings {
  device: string;
  metric: string;
  unit: string;
  step_s: number;
  points: Point[];
  gaps: [number, number][];
}

export interface Metric {
  name: string;
  label: string;
  unit: string;
  ucum: string;
  min: number;
  max: number;
  precision: number;
  method: Method;
}

export interface ReadingEvent {
  device: string;
  time: string;
  time_ms: number;
  state: State;
  values: Record<string, number>;
  presence: Presence;
  band: Band | null;
  trend_per_5min: number | null;
  headline?: Headline | null;
}

export interface PresenceEvent {
  device: string;
  presence: Presence;
  since_ms: number;
}

export const STREAM = '/api/v1/stream';

export const devices = (): Promise<Snapshot> => json('/api/v1/devices');

export const metrics = async (): Promise<Metric[]> =>
  (await json<{ metrics: Metric[] }>('/api/v1/metrics')).metrics;

export const readings = (query: ReadingsQuery, signal?: AbortSignal): Promise<Readings> =>
  json(readingsUrl(query), signal);

export interface ReadingsQuery {
  device: string;
  metric: string;
  from: number;
  to: number;
  maxPoints?: number;
}

function readingsUrl(query: ReadingsQuery): string {
  const params = new URLSearchParams({
    device: query.device,
    metric: query.metric,
    from: String(Math.floor(query.from)),
    to: String(Math.ceil(query.to)),
    max_points: String(query.maxPoints ?? 1000),
  });
  return `/api/v1/readings?${params}`;
}

/** The address of every raw reading in the range, as CSV. */
export function csvUrl(query: ReadingsQuery): string {
  const params = new URLSearchParams({
    device: query.device,
    metric: query.metric,
    from: String(Math.floor(query.from)),
    to: String(Math.ceil(query.to)),
    format: 'csv',
  });
  return `/api/v1/readings?${params}`;
}

/** Leaves for the sign-in page and comes back to where the visitor was. */
export function signIn(): void {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

async function json<T>(url: string, signal?: AbortSignal): Promise<T> {
  const init: RequestInit = { headers: { accept: 'application/json' }, credentials: 'same-origin' };
  if (signal) init.signal = signal;
  const answer = await fetch(url, init);
  if (answer.status === 401) {
    signIn();
    // The page is going away; a promise that never settles keeps errors from flashing up.
    return new Promise<T>(() => undefined);
  }
  if (!answer.ok) throw new Error(`${answer.status} ${url}`);
  return (await answer.json()) as T;
}
