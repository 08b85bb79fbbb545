// The one connection that keeps the page current.
//
// EventSource reconnects by itself after a broken connection, but it neither notices a silent one
// nor survives an HTTP error. This module does both: it watches for the `ping` that comes every
// 15 s, and opens a new stream when the browser has given up.

import { devices as fetchDevices, STREAM, type PresenceEvent, type ReadingEvent, type Snapshot } from './api';
import { withPresence, withReading } from './rooms';
import { connection, devices, serverTime, takeSnapshot } from './state';

/** Three missed pings. */
const SILENCE_MS = 45_000;
/** A restart of the gateway takes less; until then a broken connection is not worth a banner. */
const PATIENCE_MS = 10_000;
const RETRY_MS = 2_000;

type Listener = (event: ReadingEvent) => void;

let source: EventSource | null = null;
let heardAt = Date.now();
let heardAtServer = 0;
let brokenAt: number | null = null;
let retry: number | undefined;
const listeners = new Set<Listener>();

/** Calls back for every reading, late ones included, until the returned function is called. */
export function onReading(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function startLive(): void {
  heardAtServer = serverTime();
  open();
  setInterval(watch, 1000);
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => {
    if (event.persisted) open();
  });
  // A phone that wakes up should not wait for the watchdog.
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && Date.now() - heardAt > SILENCE_MS / 2) open();
  });
  addEventListener('online', open);
}

function open(): void {
  close();
  const stream = new EventSource(STREAM);
  source = stream;
  stream.onopen = heard;
  stream.onerror = () => {
    brokenAt ??= Date.now();
    // CLOSED means the answer was not a stream: signed out, or a proxy's error page.
    if (stream.readyState === EventSource.CLOSED && retry === undefined) retry = window.setTimeout(recover, RETRY_MS);
  };
  on<Snapshot>(stream, 'snapshot', takeSnapshot);
  on<PresenceEvent>(stream, 'presence', (event) => {
    devices.value = withPresence(devices.value, event);
  });
  on<ReadingEvent>(stream, 'reading', (event) => {
    const next = withReading(devices.value, event);
    if (next) devices.value = next;
    else void refresh();
    for (const listener of listeners) listener(event);
  });
  stream.addEventListener('ping', heard);
}

function close(): void {
  clearTimeout(retry);
  retry = undefined;
  source?.close();
  source = null;
}

function on<T>(stream: EventSource, name: string, take: (event: T) => void): void {
  stream.addEventListener(name, (message) => {
    heard();
    let event: T;
    try {
      event = JSON.parse(message.data) as T;
    } catch {
      return; // A proxy cut the line short; the next snapshot repairs what was lost.
    }
    take(event);
  });
}

function heard(): void {
  heardAt = Date.now();
  heardAtServer = serverTime();
  brokenAt = null;
  if (connection.value.is !== 'live') connection.value = { is: 'live' };
}

function watch(): void {
  const silent = Date.now() - heardAt > SILENCE_MS;
  const broken = brokenAt !== null && Date.now() - brokenAt > PATIENCE_MS;
  if ((silent || broken) && connection.value.is !== 'lost') {
    connection.value = { is: 'lost', since: heardAtServer };
  }
  // An open but silent connection never reports an error; only a new one can tell.
  if (silent && source?.readyState === EventSource.OPEN) open();
}

async function recover(): Promise<void> {
  retry = undefined;
  await refresh();
  open();
}

let refreshing = false;
async function refresh(): Promise<void> {
  if (refreshing) return;
  refreshing = true;
  try {
    // Goes to the sign-in page by itself when the session has ended.
    takeSnapshot(await fetchDevices());
  } catch {
    // Still away; the caller or the next event tries again.
  } finally {
    refreshing = false;
  }
}
