// The number of a room and what always goes with it: unit, method, shape, word, trend, age.

import type { Device } from '../api';
import { isGas, SHAPE, type Standing } from '../band';
import { age, clock, moment, number, signed } from '../format';
import { label, precision } from '../quantities';
import { extra, type Room } from '../rooms';
import { connection, now, zone } from '../state';
import { strings } from '../strings';

/** A value nobody should act on: old, or not yet right. */
export const doubtful = (device: Device, standing: Standing): boolean =>
  standing === 'offline' || connection.value.is === 'lost' || (device.last !== null && device.last.state !== 'ok');

export function Figure({ device, standing }: { device: Device; standing: Standing }) {
  const { headline } = device;
  if (!headline) return <p class="figure none"><span class="value" aria-hidden="true">—</span></p>;
  const estimated = headline.method === 'estimated';
  return (
    <p class={`figure${estimated ? ' estimated' : ''}${doubtful(device, standing) ? ' doubtful' : ''}`}>
      {standing === 'offline' && <span class="visually-hidden">{strings.lastValue('')}</span>}
      <span class="value" data-value={headline.value}>{number(headline.value, precision(headline.metric))}</span>
      <span class="unit">
        <span>{headline.unit}</span>
        <span class="quantity">{estimated && headline.metric === 'eco2' ? strings.estimate : label(headline.metric)}</span>
      </span>
    </p>
  );
}

export function Verdict({ device, standing }: { device: Device; standing: Standing }) {
  // "No data" beside a number would be wrong; the state then is the word.
  const state = device.presence === 'online' && device.last && device.last.state !== 'ok' ? device.last.state : null;
  return (
    <p class="verdict" data-standing={standing}>
      <span class="shape" aria-hidden="true">{SHAPE[standing]}</span>
      {!(state && standing === 'none') && <span class="word">{word(device, standing)}</span>}
      {state && <span class="state">{strings.state[state] ?? state}</span>}
    </p>
  );
}

function word(device: Device, standing: Standing): string {
  // With a number beside it, "no data" would be wrong; and a thermometer alone is not a fault.
  if (standing === 'none' && device.headline) return isGas(device.headline.metric) ? strings.noVerdict : strings.noGas;
  return strings.word[standing];
}

/** Trend and age in one line; when there is no fresh value, since when. */
export function Freshness({ device, standing }: { device: Device; standing: Standing }) {
  const last = device.last;
  if (!last) return <p class="freshness">{strings.neverHeard}</p>;
  if (standing === 'offline') {
    return <p class="freshness">{strings.offlineSince(moment(last.time_ms, zone.value, now.value))}</p>;
  }
  return (
    <p class="freshness">
      {device.headline && !doubtful(device, standing) && <Trend device={device} />}
      <Age at={last.time_ms} />
    </p>
  );
}

function Trend({ device }: { device: Device }) {
  const trend = device.trend_per_5min;
  const metric = device.headline?.metric ?? '';
  if (trend === null) return null;
  const digits = precision(metric);
  // Less than this in five minutes is the sensor's own noise.
  const still = isGas(metric) ? 5 : 10 ** -digits * 2;
  const arrow = Math.abs(trend) < still ? '→' : trend > 0 ? (trend > still * 12 ? '↑' : '↗') : trend < -still * 12 ? '↓' : '↘';
  const text = Math.abs(trend) < still ? strings.steady : strings.trend(signed(trend, digits));
  return <span class="trend"><span class="arrow" aria-hidden="true">{arrow}</span> {text}</span>;
}

/** Reads the clock itself, so a tick redraws one word and not the page. */
function Age({ at }: { at: number }) {
  return <time class="age" dateTime={new Date(at).toISOString()} title={clock(at, zone.value)}>{age(now.value - at)}</time>;
}

/** Temperature and humidity, small. */
export function Climate({ room }: { room: Room }) {
  const shown = ['temperature', 'humidity']
    .filter((metric) => metric !== room.lead.headline?.metric)
    .map((metric) => ({ metric, value: extra(room, metric) }))
    .filter((item): item is { metric: string; value: number } => item.value !== null);
  if (shown.length === 0) return null;
  return (
    <p class="climate">
      {shown.map(({ metric, value }) => (
        <span key={metric}>
          <span class="visually-hidden">{strings.metric[metric]} </span>
          {number(value, precision(metric))} {metric === 'temperature' ? '°C' : '%'}
        </span>
      ))}
    </p>
  );
}
