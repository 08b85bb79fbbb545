// Choosing the stretch of time: presets, earlier and later, custom, live.

import { useState } from 'preact/hooks';
import { navigate } from '../router';
import { connection, serverTime, zone } from '../state';
import { strings } from '../strings';
import { fromField, toField } from '../zone';
import { bounds, isLive, MIN_SPAN, PRESETS, rangeQuery, shifted, type Range } from './ranges';

interface Props {
  range: Range;
  path: string;
  params: URLSearchParams;
}

export function Controls({ range, path, params }: Props) {
  const href = (next: Range) => path + rangeQuery(next, params);
  const live = isLive(range);
  const [custom, setCustom] = useState(false);
  const step = (direction: -1 | 1) => navigate(href(shifted(range, direction, serverTime())));
  return (
    <div class="controls">
      <nav class="ranges" aria-label={strings.room.ranges}>
        {PRESETS.map((preset) => (
          <a key={preset.id} href={href({ preset })} aria-current={live && range.preset === preset ? 'true' : undefined}>
            {preset.label}
          </a>
        ))}
      </nav>
      <div class="steps">
        <button type="button" class="quiet" onClick={() => step(-1)} aria-label={strings.room.earlier} title={strings.room.earlier}>‹</button>
        <button type="button" class="quiet" onClick={() => step(1)} disabled={live} aria-label={strings.room.later} title={strings.room.later}>›</button>
        <button type="button" class="quiet custom-button" aria-expanded={custom} onClick={() => setCustom(!custom)}>{strings.room.custom}</button>
        {live ? (
          <span class="live-edge" data-connection={connection.value.is}>
            <span class="dot" aria-hidden="true" /> {connection.value.is === 'lost' ? strings.live.offline : strings.room.liveEdge}
          </span>
        ) : (
          <a class="go-live" href={href(liveAgain(range))} title={strings.room.paused}>{strings.room.goLive} <span aria-hidden="true">●</span></a>
        )}
      </div>
      {custom && <Custom range={range} show={(next) => navigate(href(next))} />}
    </div>
  );
}

/** The preset nearest in length, so that going live keeps the scale people were looking at. */
export function liveAgain(range: Range): Range {
  if (isLive(range)) return range;
  const span = range.to - range.from;
  return { preset: PRESETS.find((preset) => preset.ms >= span) ?? PRESETS[PRESETS.length - 1]! };
}

function Custom({ range, show }: { range: Range; show(range: Range): void }) {
  const current = bounds(range, serverTime());
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget as HTMLFormElement);
    const from = fromField(String(data.get('from')), zone.value);
    const to = fromField(String(data.get('to')), zone.value);
    if (from !== null && to !== null && to - from >= MIN_SPAN) show({ from, to });
  };
  return (
    <form class="custom" onSubmit={submit}>
      <label>{strings.room.from} <input type="datetime-local" name="from" required defaultValue={toField(current.from, zone.value)} /></label>
      <label>{strings.room.to} <input type="datetime-local" name="to" required defaultValue={toField(current.to, zone.value)} /></label>
      <button type="submit" class="button">{strings.room.show}</button>
    </form>
  );
}
