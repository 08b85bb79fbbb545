// The chart's twin for eyes, ears and clipboards that prefer rows.

import { useEffect, useRef, useState } from 'preact/hooks';
import { bandOf, SHAPE } from '../band';
import { clock, clockSeconds, day, number } from '../format';
import { strings } from '../strings';
import { gapText } from './paint';
import type { Picture } from './picture';
import type { Gap, Sample } from './series';

const MAX_ROWS = 1000;

export function TableTwin({ picture, toggled }: { picture: Picture; toggled: number }) {
  const element = useRef<HTMLDetailsElement>(null);
  const [open, setOpen] = useState(false);
  // The page's T key counts up; the first render is no key press.
  useEffect(() => {
    if (toggled === 0 || !element.current) return;
    element.current.open = !element.current.open;
    if (element.current.open) element.current.querySelector('summary')?.focus();
  }, [toggled]);
  return (
    <details class="twin" data-testid="table-twin" ref={element} onToggle={() => setOpen(element.current?.open ?? false)}>
      <summary>{strings.room.table}</summary>
      {/* A thousand rows cost more than the chart; they are made when somebody looks. */}
      {open && <Rows picture={picture} />}
    </details>
  );
}

function Rows({ picture }: { picture: Picture }) {
  const { series, bands, precision } = picture;
  const bucketed = series.readings.step_s > 0;
  const value = (n: number) => number(n, precision);
  const time = bucketed && series.readings.step_s % 60 === 0 ? clock : clockSeconds;
  const all = interleaved(series.samples, series.gaps);
  const heads = bucketed
    ? [strings.table.from, strings.table.min, strings.table.mean, strings.table.max, strings.table.count]
    : [strings.table.time, strings.table.value];
  if (bands) heads.push(strings.table.band);
  return (
    <div class="twin-scroll" tabIndex={0} role="region" aria-label={strings.room.table}>
      <table>
        <thead><tr>{heads.map((head) => <th key={head} scope="col">{head}</th>)}</tr></thead>
        <tbody>
          {all.slice(0, MAX_ROWS).map((row) => 'at' in row ? (
            <tr key={row.at}>
              <th scope="row">{day(row.start, picture.zone)}, {time(row.start, picture.zone)}</th>
              {bucketed && <td>{value(row.min)}</td>}
              <td>{value(row.mean)} {series.readings.unit}</td>
              {bucketed && <td>{value(row.max)}</td>}
              {bucketed && <td>{row.count}</td>}
              {bands && <td>{SHAPE[bandOf(row.mean, bands)]} {strings.word[bandOf(row.mean, bands)]}</td>}
            </tr>
          ) : (
            <tr key={`gap-${row.from}`} class="twin-gap"><td colSpan={heads.length}>{gapText(row, picture).join(' ')}</td></tr>
          ))}
        </tbody>
      </table>
      {all.length > MAX_ROWS && <p>{strings.room.tableCapped(MAX_ROWS)}</p>}
    </div>
  );
}

/** Newest first: the row most people look for is the last one. */
function interleaved(samples: readonly Sample[], gaps: readonly Gap[]): (Sample | Gap)[] {
  const start = (row: Sample | Gap) => ('at' in row ? row.at : row.from);
  return [...samples, ...gaps].sort((a, b) => start(b) - start(a));
}
