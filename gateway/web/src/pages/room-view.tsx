// One room: the number now, what it was, and everything else measured there. Loaded with the chart
// library as one file, when the first room is opened.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { csvUrl, type Device, type Readings } from '../api';
import { haze, hasBands, type Standing } from '../band';
import { ChartView } from '../chart/chart';
import { Controls, liveAgain } from '../chart/controls';
import type { Picture } from '../chart/picture';
import { bounds, isLive, MIN_SPAN, parseRange, PRESETS, rangeQuery, type Range } from '../chart/ranges';
import { useReadings } from '../chart/readings';
import { OUTDOOR_PPM, yBounds } from '../chart/scale';
import { seriesOf } from '../chart/series';
import { SmallChart } from '../chart/small';
import { description, factsOf, sentence } from '../chart/summary';
import { TableTwin } from '../chart/table';
import { Climate, Figure, Freshness, Verdict } from '../parts/headline';
import { Keys } from '../parts/keys';
import { askForQuantities, label, method, precision } from '../quantities';
import { quantities, roomPath, type Room as RoomOf } from '../rooms';
import { here, navigate } from '../router';
import { afterFrame } from '../frame';
import { connection, now, serverTime, site, zone } from '../state';
import { strings } from '../strings';

export function RoomView({ room: { name, lead, standing, devices }, room: whole }: { room: RoomOf }) {
  const params = new URLSearchParams(here.value.query);
  const all = quantities(whole);
  const metric = all.find((item) => item.metric === params.get('m'))?.metric ?? lead.headline?.metric ?? all[0]?.metric ?? 'co2';
  const device = all.find((item) => item.metric === metric)?.device ?? lead;
  const others = all.filter((item) => item.metric !== metric);
  const range = parseRange(params);
  // All that stands below the large chart waits until it is on the screen: it is what people came for.
  const [painted, setPainted] = useState(false);
  useEffect(() => {
    if (painted) askForQuantities();
  }, [painted]);

  const { bands } = site.value;
  const value = lead.headline?.value;
  return (
    <main id="main" class="room">
      <p class="back"><a href="/">← {strings.room.back}</a></p>
      <section
        class={`pane room-pane${connection.value.is === 'lost' ? ' stale' : ''}`}
        data-room={name} data-standing={standing} data-band={lead.band ?? 'none'} data-presence={lead.presence}
        style={{ '--haze': String(value !== undefined && lead.band ? haze(value, bands) : 0) }}
      >
        <div class="sash">
          <span class="air" aria-hidden="true" />
          <div class="pane-name">
            <h1 tabIndex={-1}>{name}</h1>
            {lead.simulated && <span class="tag">{strings.simulated}</span>}
          </div>
          <div class="pane-air">
            <Figure device={lead} standing={standing} />
            <div class="pane-words">
              <Verdict device={lead} standing={standing} />
              <Freshness device={lead} standing={standing} />
            </div>
            <Climate room={whole} />
          </div>
        </div>
      </section>
      {all.length === 0 ? <p class="sentence">{strings.room.never}</p> : (
        <Main
          key={`${device.id} ${metric}`}
          name={name} device={device} metric={metric} standing={standing} range={range} params={params}
          onPainted={() => afterFrame(() => setPainted(true))}
        />
      )}
      {painted && others.length > 0 && (
        <section class="others" aria-labelledby="others">
          <h2 id="others">{strings.room.others}</h2>
          <div class="small-charts">
            {others.map((item) => (
              <SmallChart key={`${item.device.id} ${item.metric}`} device={item.device} metric={item.metric} range={range} href={metricHref(name, item.metric, params, lead)} />
            ))}
          </div>
        </section>
      )}
      {(painted || all.length === 0) && <Notes device={device} devices={devices} metric={metric} />}
    </main>
  );
}

function metricHref(name: string, metric: string, params: URLSearchParams, lead: Device): string {
  const next = new URLSearchParams(params);
  if (metric === lead.headline?.metric) next.delete('m');
  else next.set('m', metric);
  const query = next.toString();
  return roomPath(name) + (query && `?${query}`);
}

let viewerZone: string | undefined;

interface MainProps {
  name: string;
  device: Device;
  metric: string;
  standing: Standing;
  range: Range;
  params: URLSearchParams;
  onPainted(): void;
}

function Main({ name, device, metric, standing, range, params, onPainted }: MainProps) {
  const { readings, loading, failed, retry } = useReadings(device.id, metric, range);
  const [toggled, setToggled] = useState(0);
  const help = useRef<HTMLDialogElement>(null);
  const { from, to } = useEdges(range, readings);
  const bands = hasBands(metric) ? site.value.bands : null;
  const digits = precision(metric);
  const go = (next: Range) => navigate(roomPath(name) + rangeQuery(next, params));

  const view = useMemo(() => {
    if (!readings) return null;
    const series = seriesOf(readings, from, to, device.period_s);
    const facts = factsOf(series, site.value.bands, device.period_s);
    const lows = series.samples.map((sample) => sample.min);
    const picture: Picture = {
      series, bands, precision: digits, zone: zone.value,
      outdoor: metric === 'co2' ? OUTDOOR_PPM : null,
      y: yBounds(metric, lows.length ? lows.reduce((a, b) => Math.min(a, b)) : null, facts && facts.max),
    };
    return { picture, facts };
  }, [readings, from, to, device.period_s, bands, digits, zone.value]);

  function onKey(key: string): boolean {
    const preset = /^[1-6]$/.test(key) ? PRESETS[Number(key) - 1] : undefined;
    if (preset) go({ preset });
    else if (key === 'l' || key === 'L') go(liveAgain(range));
    else if (key === 't' || key === 'T') setToggled(toggled + 1);
    else if (key === '?') help.current?.showModal();
    else return false;
    return true;
  }

  const when = isLive(range) ? strings.sentence.inLast(range.preset.label) : strings.sentence.inRange;
  const csv = csvUrl({ device: device.id, metric, ...bounds(range, to) });
  viewerZone ??= Intl.DateTimeFormat().resolvedOptions().timeZone;
  return (
    <section class="main-chart" aria-labelledby="main-chart">
      <h2 id="main-chart" class="visually-hidden">{strings.chart.name(label(metric), name)}</h2>
      <p class="sentence">
        {view && <>{hasBands(metric) ? `${strings.word[standing]}. ` : `${label(metric)}. `}{sentence(view.picture.series, view.facts, site.value.bands, digits, when)}</>}
      </p>
      <Controls range={range} path={roomPath(name)} params={params} />
      {view ? (
        <ChartView
          name={strings.chart.name(label(metric), name)}
          description={description(view.picture.series, view.facts, site.value.bands, digits, zone.value)}
          picture={view.picture} periodS={device.period_s} loading={loading}
          onZoom={(start, end) => go(zoomed(start, end))}
          onReset={() => go(liveAgain(range))}
          onKey={onKey} onPainted={onPainted}
        />
      ) : (
        <div class="chart-wait">{failed ? null : strings.room.updating}</div>
      )}
      {failed && <p class="failed" role="alert">{strings.failed} <button type="button" class="quiet" onClick={retry}>{strings.retry}</button></p>}
      <div class="chart-foot">
        <a data-testid="csv" class="csv" href={csv} download title={strings.room.csvTitle}>{strings.room.csv}</a>
        <button type="button" class="quiet keys-button" onClick={() => help.current?.showModal()}>{strings.room.keys}</button>
        {zone.value !== viewerZone && <span class="zone">{strings.zone(zone.value)}</span>}
      </div>
      {view && <TableTwin picture={view.picture} toggled={toggled} />}
      <Keys dialog={help} />
    </section>
  );
}

const CLOCK_SLACK_MS = 2000;

/** Never shorter than a chart can show, and no later than now: two fingers can pull past both. */
function zoomed(from: number, to: number): Range {
  const end = Math.min(to, serverTime());
  return { from: Math.min(from, end - MIN_SPAN), to: end };
}

/**
 * The edges of the chart. A live one moves with the clock, in steps of what one pixel shows, and at
 * once when a reading arrives.
 */
function useEdges(range: Range, readings: Readings | null): { from: number; to: number } {
  if (!isLive(range)) return range;
  const step = Math.max(1000, range.preset.ms / 1000);
  const newest = readings?.points[readings.points.length - 1]?.[0] ?? 0;
  // Our idea of the gateway's time lags by what its answer took; a device's may be far ahead.
  const fresh = newest <= serverTime() + CLOCK_SLACK_MS ? newest : 0;
  const to = Math.max(Math.floor(now.value / step) * step, fresh);
  return bounds(range, to);
}

function Notes({ device, devices, metric }: { device: Device; devices: Device[]; metric: string }) {
  const { bands } = site.value;
  const estimated = (device.headline?.metric === metric ? device.headline.method : method(metric)) === 'estimated';
  return (
    <div class="notes">
      <section aria-labelledby="method">
        <h2 id="method">{strings.room.method}</h2>
        <p class={estimated ? 'caution' : undefined}>
          {estimated ? strings.method.estimated : metric === 'co2' ? strings.method.measured.co2 : strings.method.measured.other}
        </p>
        {hasBands(metric) && <p>{strings.method.bands(bands.label)} {bands.source && `(${bands.source})`}</p>}
        <p>{strings.method.where}</p>
      </section>
      <section aria-labelledby="sensors">
        <h2 id="sensors">{strings.room.devices}</h2>
        <ul class="sensors" role="list">
          {devices.map((mate) => (
            <li key={mate.id}>
              <b>{mate.name ?? mate.id}</b> {mate.name && <code>{mate.id}</code>}
              {mate.simulated && <span class="tag">{strings.simulated}</span>}
              <Freshness device={mate} standing={mate.presence === 'offline' ? 'offline' : 'none'} />
            </li>
          ))}
        </ul>
      </section>
    </div>
  );
}
