// The one connection that keeps the page current.
//
// EventSource reconnects by itself after a broken connection, but it takes its time, does not notice
// a silent one and gives up on an HTTP error. This module does all three: it watches for the `ping`
// that comes every 15 s, opens a new stream soon after one broke, and says which event it saw last,
// so that the gateway sends what was missed.

import { devices as fetchDevices, STREAM, type PresenceEvent, type ReadingEvent, type Snapshot } from './api';
import { newerReadings, withPresence, withReading } from './rooms';
import { connection, devices, known, missed, serverTime, takeSnapshot } from './state';

/** Three missed pings. */
const SILENCE_MS = 45_000;
/** A restart of the gateway takes less; until then a broken connection is not worth a banner. */
const PATIENCE_MS = 10_000;
/** Pauses before the next attempts; the last one repeats. A little chance keeps viewers apart. */
const RETRY_MS = [500, 1000, 1500, 2500, 4000];
/** After a longer absence a fresh start is cheaper than every single event. */
const RESUME_MS = 120_000;

type Listener = (event: ReadingEvent) => void;

let source: EventSource | null = null;
/** Of the newest event; empty before the first. */
let lastId = '';
let heardAt = Date.now();
let heardAtServer = 0;
let brokenAt: number | null = null;
let attempts = 0;
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
  if (Date.now() - heardAt > RESUME_MS) lastId = '';
  const stream = new EventSource(lastId ? `${STREAM}?last_event_id=${lastId}` : STREAM);
  source = stream;
  stream.onopen = heard;
  stream.onerror = () => {
    brokenAt ??= Date.now();
    // CLOSED means the answer was not a stream: signed out, or a proxy's error page. EventSource
    // does not say which; a plain request does, and knows the way to the sign-in page.
    const refused = stream.readyState === EventSource.CLOSED;
    close();
    const pause = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)] as number;
    retry = window.setTimeout(refused ? recover : open, pause * (1 + Math.random() / 4));
  };
  on<Snapshot>(stream, 'snapshot', (snapshot, id) => {
    // One with a new number stands for readings that are not told one by one.
    const skipped = known.value && (lastId ? id !== '' && id !== lastId : newerReadings(devices.value, snapshot.devices));
    takeSnapshot(snapshot);
    if (skipped) missed.value++;
  });
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

function on<T>(stream: EventSource, name: string, take: (event: T, id: string) => void): void {
  stream.addEventListener(name, (message) => {
    heard();
    let event: T;
    try {
      event = JSON.parse(message.data) as T;
    } catch {
      return; // A proxy cut the line short; the next snapshot repairs what was lost.
    }
    take(event, message.lastEventId);
    // Empty on a stream that resumed and has told nothing new yet.
    if (message.lastEventId) lastId = message.lastEventId;
  });
}

function heard(): void {
  heardAt = Date.now();
  heardAtServer = serverTime();
  brokenAt = null;
  attempts = 0;
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
