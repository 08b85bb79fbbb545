// Devices in, rooms out: grouping, which device speaks for a room, order, counts; and how one
// event of the live stream changes the devices. Pure.

import type { Device, PresenceEvent, ReadingEvent, Spark } from './api';
import { rank, standing, STANDINGS, type Standing } from './band';

export interface Room {
  name: string;
  devices: Device[];
  /** The device whose number the pane shows. */
  lead: Device;
  standing: Standing;
}

export function roomsOf(devices: readonly Device[]): Room[] {
  const byName = new Map<string, Device[]>();
  for (const device of devices) {
    const name = roomName(device);
    const mates = byName.get(name);
    if (mates) mates.push(device);
    else byName.set(name, [device]);
  }
  return [...byName].map(([name, mates]) => {
    const lead = leadOf(mates);
    return { name, devices: mates, lead, standing: standing(lead) };
  });
}

/** A device nobody has placed is a room of its own. */
export const roomName = (device: Device): string => device.room || device.name || device.id;

export const roomPath = (name: string): string => `/r/${encodeURIComponent(name)}`;

/** The device with CO₂, else eCO₂, else the first; of several the one in the worst air. */
function leadOf(devices: Device[]): Device {
  const of = (metric: string) => devices.filter((device) => senses(device, metric));
  const candidates = [of('co2'), of('eco2'), devices].find((group) => group.length > 0) ?? devices;
  return [...candidates].sort(
    (a, b) => rank(standing(a)) - rank(standing(b)) || headlineValue(b) - headlineValue(a),
  )[0] as Device;
}

const senses = (device: Device, metric: string): boolean =>
  device.headline?.metric === metric || device.last?.values[metric] !== undefined;

const headlineValue = (device: Device): number => device.headline?.value ?? -Infinity;

/**
 * Worst first. Rooms that need air go by value, in steps of 100 so that two close rooms do not
 * change places with every reading; the others by name.
 */
export function sorted(rooms: readonly Room[]): Room[] {
  const step = (room: Room) =>
    room.standing === 'now' || room.standing === 'soon' ? -Math.floor(headlineValue(room.lead) / 100) : 0;
  return [...rooms].sort(
    (a, b) => rank(a.standing) - rank(b.standing) || step(a) - step(b) || compareNames(a.name, b.name),
  );
}

// Made on first use: loading collation data takes longer than sorting does.
let collator: Intl.Collator | undefined;
function compareNames(a: string, b: string): number {
  collator ??= new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
  return collator.compare(a, b) || (a < b ? -1 : 1);
}

export interface Counts {
  total: number;
  needAir: number;
  good: number;
  none: number;
  offline: number;
  worst: Standing;
}

export function counts(rooms: readonly Room[]): Counts {
  const of = (standing: Standing) => rooms.filter((room) => room.standing === standing).length;
  return {
    total: rooms.length,
    needAir: of('now') + of('soon'),
    good: of('good'),
    none: of('none'),
    offline: of('offline'),
    worst: STANDINGS.find((standing) => of(standing) > 0) ?? 'none',
  };
}

/** The value of a second quantity in the room, from the lead device if it has it. */
export function extra(room: Room, metric: string): number | null {
  for (const device of [room.lead, ...room.devices]) {
    const value = device.presence === 'online' ? device.last?.values[metric] : undefined;
    if (value !== undefined) return value;
  }
  return null;
}

/** Every quantity measured in the room, with the device that measures it. */
export function quantities(room: Room): { metric: string; device: Device }[] {
  const found = new Map<string, Device>();
  for (const device of [room.lead, ...room.devices]) {
    const metrics = Object.keys(device.last?.values ?? {});
    if (device.headline) metrics.unshift(device.headline.metric);
    for (const metric of metrics) if (!found.has(metric)) found.set(metric, device);
  }
  return [...found].map(([metric, device]) => ({ metric, device }));
}

/** Null when the stream names a device this page has never seen. */
export function withReading(devices: readonly Device[], event: ReadingEvent): Device[] | null {
  const at = devices.findIndex((device) => device.id === event.device);
  const old = devices[at];
  if (!old) return null;
  const next: Device = { ...old, spark: old.spark && foldSpark(old.spark, event) };
  // A late reading belongs to the past: it may fill the sparkline but not the headline.
  if (!old.last || event.time_ms > old.last.time_ms) {
    next.presence = event.presence;
    next.band = event.band;
    next.trend_per_5min = event.trend_per_5min;
    next.last = {
      time: event.time, time_ms: event.time_ms, state: event.state,
      values: { ...old.last?.values, ...event.values },
    };
    const value = old.headline ? event.values[old.headline.metric] : undefined;
    if (event.headline) next.headline = event.headline;
    else if (old.headline && value !== undefined) next.headline = { ...old.headline, value };
  }
  return devices.map((device, index) => (index === at ? next : device));
}

/** Does the second list know of later readings than the first? */
export function newerReadings(before: readonly Device[], after: readonly Device[]): boolean {
  const last = new Map(before.map((device) => [device.id, device.last?.time_ms ?? 0]));
  return after.some((device) => (device.last?.time_ms ?? 0) > (last.get(device.id) ?? 0));
}

export const withPresence = (devices: readonly Device[], event: PresenceEvent): Device[] =>
  devices.map((device) =>
    device.id === event.device ? { ...device, presence: event.presence } : device,
  );

/** Puts a reading into its step of the sparkline and moves the window along when time has passed. */
export function foldSpark(spark: Spark, event: Pick<ReadingEvent, 'time_ms' | 'values'>): Spark {
  const value = event.values[spark.metric];
  if (value === undefined) return spark;
  const step = spark.step_s * 1000;
  let index = Math.floor((event.time_ms - spark.from_ms) / step);
  if (index < 0) return spark;
  let values = [...spark.values];
  let from = spark.from_ms;
  const shift = index - (values.length - 1);
  if (shift > 0) {
    values = [...values.slice(shift), ...Array<null>(Math.min(shift, values.length)).fill(null)];
    from += shift * step;
    index = values.length - 1;
  }
  // How many readings are in the step already is not known here; an even blend is close
  // enough for a line 40 pixels high, and the next snapshot brings the exact mean.
  const before = values[index];
  values[index] = before == null ? value : (before + value) / 2;
  return { ...spark, from_ms: from, values };
}
