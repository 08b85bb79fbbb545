// What the pages know: the snapshot, the clock of the server, the connection. Signals, nothing else.

import { computed, signal } from '@preact/signals';
import type { Boot, Device, Readings, Site, Snapshot } from './api';
import { counts, roomsOf, sorted } from './rooms';
import { knownZone } from './zone';

export type Connection = { is: 'connecting' } | { is: 'live' } | { is: 'lost'; since: number };

const noSite: Site = {
  name: 'Casement', time_zone: 'UTC', public: true, signed_in: false,
  bands: { id: '', label: '', soon_from: 1000, now_from: 1400, source: '' },
};

export const site = signal<Site>(noSite);
export const devices = signal<readonly Device[]>([]);
/** False until the first snapshot: an empty list then means "not known yet", not "no rooms". */
export const known = signal(false);
export const connection = signal<Connection>({ is: 'connecting' });
/** The server's time, in whole seconds. */
export const now = signal(Date.now());
/** Readings the server put into a room page, until the page takes them. */
export const bootReadings: { current: Readings | null } = { current: null };

export const rooms = computed(() => sorted(roomsOf(devices.value)));
export const summary = computed(() => counts(rooms.value));
export const zone = computed(() => knownZone(site.value.time_zone));

// A viewer's clock can be wrong by hours; ages and chart edges follow the server's.
let clockOffset = 0;
export const serverTime = (): number => Date.now() + clockOffset;

/** Counts the times this page turned out to have missed readings: asleep, in a cache, or cut off. */
export const missed = signal(0);

export function takeSnapshot(snapshot: Snapshot): void {
  if (known.value && Math.abs(snapshot.server_time_ms - serverTime()) > 30_000) missed.value++;
  clockOffset = snapshot.server_time_ms - Date.now();
  now.value = serverTime();
  site.value = snapshot.site;
  devices.value = snapshot.devices;
  known.value = true;
}

export function takeBoot(boot: Boot): void {
  takeSnapshot(boot);
  bootReadings.current = boot.readings ?? null;
}

export function startClock(): void {
  setInterval(() => {
    // A hidden page need not redraw; it catches up in the second it is shown.
    if (!document.hidden) now.value = serverTime();
  }, 1000);
}
