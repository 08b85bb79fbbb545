import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { age, between, clock, duration, interval, moment, number, signed } from '../src/format';
import { runs } from '../src/parts/spark';

test('numbers have a real minus and no separators', () => {
  expect([number(1480), number(-4.25, 1), number(21.35, 1)]).toEqual(['1480', '−4.3', '21.4']);
});
test('changes carry their sign, and none when they round to nothing', () => {
  expect([signed(35.2), signed(-8.4), signed(0.2)]).toEqual(['+35', '−8', '±0']);
});
test('ages use one unit', () => {
  expect([0, 12_300, 99_000, 130_000, 7_200_000, 260_000_000].map(age))
    .toEqual(['0 s ago', '12 s ago', '99 s ago', '2 min ago', '2 h ago', '3 d ago']);
});
test('a reading from the future is not negative', () => expect(age(-5000)).toBe('0 s ago'));
test('durations use two', () => {
  expect([40_000, 60_000, 5_100_000, 7_200_000, 274_000_000].map(duration))
    .toEqual(['40 s', '1 min', '1 h 25 min', '2 h', '3 d 4 h']);
});
test('times are those of the site', () => {
  const ms = Date.parse('2026-11-22T07:14:00Z');
  expect(clock(ms, 'Europe/Brussels')).toBe('08:14');
  expect(moment(ms, 'Europe/Brussels', ms + 3_600_000)).toBe('08:14');
  expect(moment(ms, 'Europe/Brussels', ms + 86_400_000)).toMatch(/22.*08:14/);
});
test('a bucket is called by the time it stands for', () => {
  const ms = Date.parse('2026-11-22T07:15:00Z');
  expect(interval(ms, 900_000, 'Europe/Brussels', ms)).toBe('08:15–08:30');
  expect(interval(ms, 86_400_000, 'UTC', ms)).toMatch(/22.* – .*23/);
});
test('a gap names days only when they differ', () => {
  const ms = Date.parse('2026-11-20T17:48:00Z');
  expect(between(ms, ms + 5_220_000, 'Europe/Brussels', ms + 400_000_000)[1]).toBe('20:15');
  expect(between(ms, ms + 86_400_000, 'Europe/Brussels', ms + 400_000_000)[1]).toMatch(/21/);
});
test('a sparkline is broken where data is missing', () => {
  expect(runs([1, 2, null, 3]).map((run) => run.map(([index]) => index))).toEqual([[0, 1], [3]]);
});
test('both dark themes are the same', () => {
  const css = readFileSync(new URL('../src/styles/tokens.css', import.meta.url), 'utf8');
  const blocks = [...css.matchAll(/color-scheme: dark;([^}]*)}/g)].map((match) => match[1]?.replace(/\s+/g, ' ').trim());
  expect(blocks).toHaveLength(2);
  expect(blocks[0]).toBe(blocks[1]);
});
