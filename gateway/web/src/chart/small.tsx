// A small chart of one more quantity in the room; choosing it makes it the large one.

import type { Device } from '../api';
import { moment, number, shortDay } from '../format';
import { label, precision, unit } from '../quantities';
import { now, zone } from '../state';
import { strings } from '../strings';
import { bounds, isLive, type Range } from './ranges';
import { useReadings } from './readings';
import { yBounds } from './scale';
import { columns, seriesOf } from './series';

const W = 240;
const H = 64;

export function SmallChart({ device, metric, range, href }: { device: Device; metric: string; range: Range; href: string }) {
  const { readings } = useReadings(device.id, metric, range, 120);
  // Once a minute is enough for a line this small.
  const { from, to } = bounds(range, Math.ceil(now.value / 60_000) * 60_000);
  const value = device.last?.values[metric];
  const name = label(metric);
  return (
    <a class="small-chart" href={href}>
      <span class="small-name">{name}</span>
      <span class="small-value">
        {value === undefined ? '—' : number(value, precision(metric))} <small>{unit(metric)}</small>
      </span>
      <span class="visually-hidden">{strings.room.showLarge}</span>
      {readings && <Line series={seriesOf(readings, from, to, device.period_s)} />}
      <span class="small-span" aria-hidden="true">
        <span>{edge(from, from, to)}</span><span>{isLive(range) ? strings.room.nowEdge : edge(to, from, to)}</span>
      </span>
    </a>
  );
}

const edge = (ms: number, from: number, to: number): string =>
  to - from > 2 * 86_400_000 ? shortDay(ms, zone.value) : moment(ms, zone.value, to);

function Line({ series }: { series: ReturnType<typeof seriesOf> }) {
  const { x, mean } = columns(series);
  const values = mean.filter((value): value is number => value !== null);
  if (values.length === 0) return <span class="small-none">{strings.room.noData}</span>;
  const [low, high] = yBounds(series.readings.metric, Math.min(...values), Math.max(...values));
  let path = '';
  let down = false;
  x.forEach((at, index) => {
    const value = mean[index];
    if (value == null) {
      down = false;
      return;
    }
    const px = ((at - series.from) / (series.to - series.from)) * W;
    const py = H - ((value - low) / (high - low)) * H;
    path += `${down ? 'L' : 'M'}${px.toFixed(1)} ${py.toFixed(1)}`;
    down = true;
  });
  return (
    <svg class="small-line" viewBox={`0 0 ${W} ${H}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
