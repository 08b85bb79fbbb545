// Three hours as a line, with the thresholds it may cross. SVG: thirty of them cost nothing.

import type { Bands, Spark as SparkData } from '../api';
import { hasBands, isGas } from '../band';
import { number } from '../format';
import { precision, unit } from '../quantities';
import { strings } from '../strings';

const W = 180;
const H = 48;

export function Spark({ spark, bands }: { spark: SparkData; bands: Bands }) {
  const known = spark.values.filter((value): value is number => value !== null);
  if (known.length === 0) return <svg class="spark" viewBox={`0 0 ${W} ${H}`} role="img" aria-label={strings.sparkEmpty} />;
  const low = Math.min(...known);
  const high = Math.max(...known);
  const gas = isGas(spark.metric);
  const floor = gas ? Math.min(400, low) : low - Math.max(0.5, (high - low) * 0.2);
  const top = gas ? Math.max(bands.soon_from * 1.12, high * 1.04) : high + Math.max(0.5, (high - low) * 0.2);
  const x = (index: number) => (index / Math.max(1, spark.values.length - 1)) * W;
  const y = (value: number) => H - ((value - floor) / (top - floor)) * H;
  const digits = precision(spark.metric);
  const text = (value: number) => `${number(value, digits)} ${unit(spark.metric)}`;
  return (
    <svg class="spark" viewBox={`0 0 ${W} ${H}`} preserveAspectRatio="none" role="img" aria-label={strings.sparkLabel(text(low), text(high))}>
      {hasBands(spark.metric) && [bands.soon_from, bands.now_from].filter((level) => level < top).map((level) => (
        <line key={level} class="threshold" x1={0} x2={W} y1={y(level)} y2={y(level)} />
      ))}
      {runs(spark.values).map((run) => {
        const line = run.map(([index, value], n) => `${n ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join('');
        const start = x((run[0] as [number, number])[0]).toFixed(1);
        const end = x((run[run.length - 1] as [number, number])[0]).toFixed(1);
        return (
          <g key={start}>
            <path class="area" d={`${line}L${end} ${H}L${start} ${H}Z`} />
            {/* A single point between gaps still deserves a dot. */}
            <path class="line" d={run.length === 1 ? `${line}h0.01` : line} />
          </g>
        );
      })}
    </svg>
  );
}

/** Stretches without a hole: a gap is never drawn over. */
export function runs(values: readonly (number | null)[]): [number, number][][] {
  const found: [number, number][][] = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (index > 0 && values[index - 1] !== null && found.length > 0) (found[found.length - 1] as [number, number][]).push([index, value]);
    else found.push([[index, value]]);
  });
  return found;
}
