import { describe, expect, test } from 'vitest';
import type { Device, ReadingEvent } from '../src/api';
import { bandOf, haze } from '../src/band';
import { counts, foldSpark, roomsOf, sorted, withReading } from '../src/rooms';

const bands = { id: '', label: '', soon_from: 1000, now_from: 1400, source: '' };

function device(id: string, part: Partial<Device> & { ppm?: number; metric?: string } = {}): Device {
  const { ppm = 600, metric = 'co2', ...rest } = part;
  return {
    id, name: null, room: id, simulated: false, presence: 'online', period_s: 10, age_s: 1,
    band: bandOf(ppm, bands), trend_per_5min: 0, spark: null,
    headline: { metric, value: ppm, unit: 'ppm', method: 'measured' },
    last: { time: '', time_ms: 1000, state: 'ok', values: { [metric]: ppm } },
    ...rest,
  };
}

const order = (...devices: Device[]) => sorted(roomsOf(devices)).map((room) => room.name).join(' ');

test('worst rooms come first, silent ones last', () => {
  expect(order(
    device('offline', { presence: 'offline', band: null }), device('never', { presence: 'never', band: null, headline: null, last: null }),
    device('good'), device('now', { ppm: 1500 }), device('soon', { ppm: 1100 }), device('worse', { ppm: 2300 }),
  )).toBe('worse now soon good never offline');
});

test('good rooms stay in the order of their names, numbers as numbers', () => {
  expect(order(device('Room 10', { ppm: 500 }), device('Room 9', { ppm: 400 }), device('Room 101', { ppm: 900 }))).toBe('Room 9 Room 10 Room 101');
});

test('two close rooms do not change places with every reading', () => {
  expect(order(device('a', { ppm: 1510 }), device('b', { ppm: 1590 }))).toBe('a b');
  expect(order(device('a', { ppm: 1590 }), device('b', { ppm: 1510 }))).toBe('a b');
});

test('a device without a room is a room by its name, else its id', () => {
  expect(order(device('id-1', { room: null, name: 'Thermometer' }), device('id-2', { room: null }))).toBe('id-2 Thermometer');
});

describe('the device that speaks for a shared room', () => {
  const lead = (...devices: Device[]) => roomsOf(devices.map((d) => ({ ...d, room: 'Lab' })))[0]?.lead.id;
  test('is the one with CO2', () => {
    expect(lead(device('t', { metric: 'temperature', ppm: 21, band: null }), device('e', { metric: 'eco2', ppm: 2000 }), device('c', { ppm: 500 }))).toBe('c');
  });
  test('is the one with eCO2 when nothing measures CO2', () => {
    expect(lead(device('t', { metric: 'temperature', band: null }), device('e', { metric: 'eco2' }))).toBe('e');
  });
  test('is the one in the worst air, and never an offline one while another reports', () => {
    expect(lead(device('a', { ppm: 600 }), device('b', { ppm: 1600 }))).toBe('b');
    expect(lead(device('a', { ppm: 3000, presence: 'offline', band: null }), device('b', { ppm: 600 }))).toBe('b');
  });
});

test('counts need air, good, no data and offline, and knows the worst', () => {
  const all = roomsOf([device('a', { ppm: 1500 }), device('b', { ppm: 1100 }), device('c'), device('d', { presence: 'offline' }), device('e', { band: null })]);
  expect(counts(all)).toEqual({ total: 5, needAir: 2, good: 1, none: 1, offline: 1, worst: 'now' });
  expect(counts([]).worst).toBe('none');
});

describe('a live reading', () => {
  const event = (time_ms: number, ppm: number): ReadingEvent => ({
    device: 'a', time: '', time_ms, state: 'ok', values: { co2: ppm }, presence: 'online', band: 'good', trend_per_5min: 1,
  });
  test('changes the headline when it is newer', () => {
    expect(withReading([device('a')], event(2000, 700))?.[0]?.headline?.value).toBe(700);
  });
  test('that is late changes nothing but the past', () => {
    expect(withReading([device('a')], event(500, 700))?.[0]?.headline?.value).toBe(600);
  });
  test('of an unknown device is not swallowed', () => {
    expect(withReading([], event(500, 700))).toBeNull();
  });
});

describe('the sparkline', () => {
  const spark = { metric: 'co2', step_s: 300, from_ms: 0, values: [500, null, 600] };
  const fold = (time_ms: number, ppm: number) => foldSpark(spark, { time_ms, values: { co2: ppm } });
  test('blends into the running step', () => expect(fold(700_000, 700).values).toEqual([500, null, 650]));
  test('moves along with time and keeps the gap', () => {
    expect(fold(1_300_000, 800)).toEqual({ ...spark, from_ms: 600_000, values: [600, null, 800] });
  });
  test('forgets everything after a long silence', () => expect(fold(9_000_000, 800).values).toEqual([null, null, 800]));
  test('takes a late reading where it belongs', () => expect(fold(310_000, 550).values).toEqual([500, 550, 600]));
  test('ignores what is older than the window', () => {
    expect(foldSpark({ ...spark, from_ms: 900_000 }, { time_ms: 10, values: { co2: 1 } }).values).toEqual(spark.values);
  });
});

test('haze grows with the value and stays between 0 and 1', () => {
  expect([300, 425, 1000, 1400, 9000].map((ppm) => haze(ppm, bands))).toEqual([0, 0, 0.43, 0.74, 1]);
});
