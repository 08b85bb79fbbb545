// The gateway's JSON shapes and the only place that calls fetch.

import type { Board } from './flash/setup';

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

export type Verdict = 'trusted' | 'private' | 'self_signed' | 'expired' | 'wrong_names';

export interface ChainLink {
  subject: string;
  issuer: string;
  not_after_ms: number;
  key: string;
}

export interface ShownCertificate {
  origin: string;
  names: string[];
  issuer: string;
  subject: string;
  serial: string;
  key: string;
  sha256: string;
  not_before_ms: number;
  not_after_ms: number;
  days_left: number;
  publicly_trusted: boolean;
  chain: ChainLink[];
}

export interface Trouble {
  problem: string | null;
  name: string | null;
  /** What the authority wrote. */
  detail: string | null;
  text: string | null;
  fix: string | null;
}

export interface Attempt extends Trouble {
  at_ms: number;
  took_ms: number;
  reason: string;
  challenge: string | null;
  names: string[];
  ok: boolean;
  dry_run: boolean;
  issued_until_ms: number | null;
}

export interface Acme {
  directory: string;
  ca: string;
  account: string | null;
  thumbprint: string | null;
  profile: string | null;
  challenge: string;
  ari: { start_ms: number; end_ms: number; explanation_url: string | null } | null;
  next_attempt_ms: number | null;
  next_reason: string | null;
  running: { since_ms: number; step: string } | null;
  stopped: { since_ms: number; problem: string; text: string; fix: string } | null;
  last_error: (Trouble & { at_ms: number }) | null;
  issued_last_7_days: number;
  /** Newest first, at most ten. */
  attempts: Attempt[];
}

export interface Certificate {
  server_time_ms: number;
  source: string;
  verdict: Verdict;
  headline: string;
  wanted: string[];
  shown: ShownCertificate;
  hsts: boolean;
  /** Whoever asks may order a certificate. */
  may_renew: boolean;
  /** Null unless the gateway orders its certificates itself. */
  acme: Acme | null;
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

/** The certificate; null for a visitor who has not signed in and is not on the same machine. */
export async function certificate(signedIn: boolean, signal?: AbortSignal): Promise<Certificate | null> {
  try {
    return await json<Certificate>('/api/v1/certificate', signal, signedIn);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return null;
    throw error;
  }
}

/** Asks for a new certificate, or for a rehearsal. Fails with a `Refusal` when the gateway says no. */
export async function renewCertificate(dryRun: boolean): Promise<void> {
  const answer = await fetch('/api/v1/certificate/renew', {
    method: 'POST', credentials: 'same-origin',
    headers: { accept: 'application/json', 'content-type': 'application/json' },
    body: JSON.stringify({ dry_run: dryRun }),
  });
  if (!answer.ok) throw await refusal(answer);
}

export interface Check {
  id: string;
  group: string;
  title: string;
  status: 'problem' | 'warning' | 'ok' | 'skipped';
  text: string;
  fix: string | null;
}

/** What `casement doctor` found. */
export interface Checks {
  at_ms: number;
  checks: Check[];
  problems: number;
  warnings: number;
}

/** Looks at everything around the gateway; takes some seconds. Only for administrators. */
export async function checks(signal: AbortSignal): Promise<Checks> {
  const answer = await fetch('/api/v1/doctor', { headers: { accept: 'application/json' }, credentials: 'same-origin', signal });
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as Checks;
}

/** What the page that flashes boards has to know. */
export interface Flash {
  boards: Board[];
  gateway: {
    /** Names in the gateway's certificate; none while it is still to come. */
    names: string[];
    /** Why no device can be set up now, and what would help. */
    problem: string | null;
    until_ms: number | null;
  };
}

export const flash = (signal?: AbortSignal): Promise<Flash> => json('/api/v1/flash', signal, false);

export async function firmware(url: string): Promise<Uint8Array> {
  const answer = await fetch(url, { credentials: 'same-origin' });
  if (!answer.ok) throw await refusal(answer);
  return new Uint8Array(await answer.arrayBuffer());
}

export interface Added {
  device: string;
  /** Its settings, but for the Wi-Fi; a token is among them. */
  image: Uint8Array;
}

/** Adds a device, and gives what it has to be told. */
export async function addDevice(room: string, url: string): Promise<Added> {
  const answer = await fetch('/api/v1/flash/devices', {
    method: 'POST', credentials: 'same-origin', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ room, url }),
  });
  if (!answer.ok) throw await refusal(answer);
  const device = answer.headers.get('location')?.split('/').pop() ?? '';
  return { device, image: new Uint8Array(await answer.arrayBuffer()) };
}

/** An answer that says no; `detail` is written for people. */
export class Refusal extends Error {
  constructor(readonly status: number, url: string, readonly detail = '') {
    super(`${status} ${url}`);
  }
}

async function refusal(answer: Response): Promise<Refusal> {
  const problem = await answer.json().catch(() => null) as { detail?: unknown } | null;
  const detail = problem?.detail;
  return new Refusal(answer.status, answer.url, typeof detail === 'string' ? detail : '');
}

/** Leaves for the sign-in page and comes back to where the visitor was. */
export function signIn(): void {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

async function json<T>(url: string, signal?: AbortSignal, toSignIn = true): Promise<T> {
  const init: RequestInit = { headers: { accept: 'application/json' }, credentials: 'same-origin' };
  if (signal) init.signal = signal;
  const answer = await fetch(url, init);
  if (answer.status === 401 && toSignIn) {
    signIn();
    // The page is going away; a promise that never settles keeps errors from flashing up.
    return new Promise<T>(() => undefined);
  }
  if (!answer.ok) throw new Refusal(answer.status, url);
  return (await answer.json()) as T;
}
