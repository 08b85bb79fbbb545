// The chart as people meet it: focus, keys, cursor, tooltip, spoken values. Drawing is uplot.ts's job.

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { bandOf } from '../band';
import { clockSeconds, duration, interval, moment, number } from '../format';
import { strings } from '../strings';
import { colours } from '../theme';
import { cursorAfter, nearest } from './cursor';
import { gapText } from './paint';
import type { Picture } from './picture';
import { mount, type Chart, type Pointed } from './uplot';

export interface ChartProps {
  name: string;
  description: string;
  picture: Picture;
  periodS: number | null;
  loading: boolean;
  onZoom(from: number, to: number): void;
  onReset(): void;
  /** A key the chart does not use itself; true when the page did. */
  onKey(key: string): boolean;
  onPainted(): void;
}

export function ChartView(props: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  // What the chart was made with, so that nothing is drawn twice at the start.
  const drawn = useRef({ picture: props.picture, colours: colours.value });
  const latest = useRef(props);
  latest.current = props;
  const [painted, setPainted] = useState(false);
  // A time, not an index: points come and go at both ends while somebody reads one.
  const [time, setTime] = useState<number | null>(null);
  const [pointer, setPointer] = useState<Pointed | null>(null);
  const [spoken, setSpoken] = useState('');

  // Before the browser paints: the chart comes with the page, not after it.
  useLayoutEffect(() => {
    const mounted = mount(place.current as HTMLElement, latest.current.picture, {
      onPoint: (pointed) => {
        setPointer(pointed);
        setTime(pointed && pointed.index !== null ? pointed.time : null);
      },
      onZoom: (from, to) => latest.current.onZoom(from, to),
      onReset: () => latest.current.onReset(),
      onPainted: () => {
        setPainted(true);
        performance.mark('casement-chart-painted');
        latest.current.onPainted();
      },
    });
    chart.current = mounted;
    return () => {
      chart.current = null;
      mounted.destroy();
    };
  }, []);

  const { picture } = props;
  const { samples, from, to } = picture.series;
  const at = time === null || time < from || time > to ? null : nearest(samples, time);
  useLayoutEffect(() => {
    if (drawn.current.picture === picture) return;
    drawn.current.picture = picture;
    chart.current?.show(picture);
  }, [picture]);
  useLayoutEffect(() => chart.current?.point(at), [at, picture, painted]);
  useEffect(() => {
    if (drawn.current.colours === colours.value) return;
    drawn.current.colours = colours.value;
    chart.current?.recolour();
  }, [colours.value]);

  function onKeyDown(event: KeyboardEvent): void {
    // Letters with Ctrl or Alt belong to the browser (G: never bind with modifiers).
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const next = cursorAfter(event.key, event.shiftKey, at, samples.length);
    if (next !== null) {
      event.preventDefault();
      setPointer(null);
      setSpoken(spokenAt(picture, next, at));
      setTime((samples[next] as { at: number }).at);
    } else if (event.key === 'Escape' && at !== null) {
      setTime(null);
      setPointer(null);
    } else if (latest.current.onKey(event.key)) {
      event.preventDefault();
    }
  }

  return (
    <div class={`chart-frame${props.loading ? ' loading' : ''}`}>
      <div
        class="chart"
        data-testid="chart"
        data-painted={painted ? '1' : undefined}
        tabIndex={0}
        role="application"
        aria-roledescription={strings.chart.role}
        aria-label={`${props.name}. ${props.description} ${strings.chart.hint}`}
        onKeyDown={onKeyDown}
        onBlur={() => setTime(null)}
      >
        <div class="chart-canvas" ref={place} aria-hidden="true" />
        <Tip picture={picture} at={at} pointer={pointer} periodS={props.periodS} place={place.current} />
      </div>
      <p class="visually-hidden" aria-live="polite" data-testid="chart-announce">{spoken}</p>
    </div>
  );
}

function spokenAt(picture: Picture, index: number, before: number | null): string {
  const { series, bands, precision, zone } = picture;
  const sample = series.samples[index];
  if (!sample) return '';
  const parts = [moment(sample.start, zone, series.to), `${number(sample.mean, precision)} ${series.readings.unit}`];
  if (bands) parts.push(strings.word[bandOf(sample.mean, bands)].toLowerCase());
  if (index === before) parts.push(index === 0 ? strings.chart.start : strings.chart.end);
  const other = before === null ? undefined : series.samples[before];
  const gap = other && series.gaps.find((g) => g.from >= Math.min(other.at, sample.at) - 1 && g.to <= Math.max(other.at, sample.at) + 1);
  const text = parts.join(', ');
  return gap ? `${gapText(gap, picture).join(' ')}; ${text}` : text;
}

/** Beside the cursor, on the side that has room. */
function Tip({ picture, at, pointer, periodS, place }: {
  picture: Picture; at: number | null; pointer: Pointed | null; periodS: number | null; place: HTMLElement | null;
}) {
  const { series, bands, precision, zone } = picture;
  const width = place?.clientWidth ?? 0;
  const sample = at === null ? undefined : series.samples[at];
  if (!sample) {
    const gap = pointer && series.gaps.find((g) => pointer.time > g.from && pointer.time < g.to);
    if (!gap || !pointer) return null;
    return <div class="tip" style={tipPlace(pointer.left, width)}><p class="tip-note">{gapText(gap, picture).join(' ')}</p></div>;
  }
  // The axis takes 52 px on the left and the padding 12 px on the right (see uplot.ts).
  const left = 52 + ((sample.at - series.from) / (series.to - series.from)) * (width - 64);
  const value = (n: number) => number(n, precision);
  const stepS = series.readings.step_s;
  const time = stepS >= 60 ? interval(sample.start, stepS * 1000, zone, series.to)
    : series.to - series.from < 7_200_000 ? clockSeconds(sample.start, zone) : moment(sample.start, zone, series.to);
  const expected = periodS ? Math.round(stepS / periodS) : 0;
  const length = duration(stepS * 1000);
  return (
    <div class="tip" style={tipPlace(left, width)} aria-hidden="true">
      <p class="tip-time">{time}</p>
      <p class="tip-value">
        {value(sample.mean)} <small>{series.readings.unit}</small>
        {bands && <span class="tip-band" data-standing={bandOf(sample.mean, bands)}>{strings.word[bandOf(sample.mean, bands)]}</span>}
      </p>
      {stepS > 0 && (
        <p class="tip-note">
          {strings.chart.range(value(sample.min), value(sample.max))}<br />
          {expected >= sample.count ? strings.chart.bucketOf(length, sample.count, expected) : strings.chart.bucket(length)}
        </p>
      )}
    </div>
  );
}

function tipPlace(left: number, width: number): { transform: string } {
  const side = left > width / 2 ? 'calc(-100% - 12px)' : '12px';
  return { transform: `translateX(${Math.round(left)}px) translateX(${side})` };
}
