// The only file that knows uPlot. Loaded when a room page needs it; the home page never pays for it.

import uPlot from 'uplot';
import { nearest } from './cursor';
import { drawBack, drawFront, lineColour, palette, type Palette } from './paint';
import { touch } from './touch';
import { tickLabels, yTicks, type Picture, type Tick } from './picture';
import { columns } from './series';

export interface Pointed {
  /** Index into the samples, or null over a gap. */
  index: number | null;
  time: number;
  /** CSS pixels inside the chart. */
  left: number;
  top: number;
}

export interface Callbacks {
  onPoint(pointed: Pointed | null): void;
  onZoom(from: number, to: number): void;
  onReset(): void;
  onPainted(): void;
}

export interface Chart {
  show(picture: Picture): void;
  /** Puts the visible cursor on a sample; null hides it. */
  point(index: number | null): void;
  recolour(): void;
  destroy(): void;
}

export function mount(place: HTMLElement, first: Picture, callbacks: Callbacks): Chart {
  let picture = first;
  let colours: Palette = palette(place);
  let painted = false;
  let pointerAt = -1;
  let ticks: { of: Picture; width: number; list: Tick[] } | null = null;
  // uPlot asks several times per drawing, and time zones are slow to ask about.
  const xTicks = (u: uPlot): Tick[] => {
    if (ticks?.of !== picture || ticks.width !== u.width) ticks = { of: picture, width: u.width, list: tickLabels(picture, u.width) };
    return ticks.list;
  };

  const plot = new uPlot(
    {
      ...size(place),
      ms: 1,
      padding: [14, 12, 0, 0],
      legend: { show: false },
      cursor: {
        x: false, y: false, points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        bind: { dblclick: () => () => (callbacks.onReset(), null) },
      },
      scales: {
        // Labels and steps are ours (site zone, any locale), so uPlot's own time axis stays off.
        x: { time: false, range: () => [picture.series.from, picture.series.to] },
        y: { range: () => picture.y },
      },
      axes: [
        {
          stroke: () => colours.text, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false },
          font: FONT, size: 42, gap: 8,
          splits: (u) => xTicks(u).map((tick) => tick.at),
          values: (u) => xTicks(u).map((tick) => tick.text),
        },
        {
          stroke: () => colours.text, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false },
          font: FONT, size: 52, gap: 8,
          splits: () => yTicks(picture).map((tick) => tick.at),
          values: () => yTicks(picture).map((tick) => tick.text),
        },
      ],
      series: [
        {},
        { stroke: (u) => lineColour(u, picture, colours), width: 2, spanGaps: false, points: { show: (u) => lonely(u).length > 0, filter: lonely } },
        { stroke: 'transparent', width: 0, points: { show: false } },
        { stroke: 'transparent', width: 0, points: { show: false } },
      ],
      bands: [{ series: [3, 2], fill: () => colours.spread }],
      hooks: {
        drawClear: [(u) => drawBack(u, picture, colours)],
        draw: [
          (u) => {
            drawFront(u, picture, colours);
            if (!painted) {
              painted = true;
              callbacks.onPainted();
            }
          },
        ],
        // Also fires when data arrives; only a moved pointer may take the cursor from the keyboard.
        setCursor: [
          (u) => {
            const left = Math.max(-1, u.cursor.left ?? -1);
            if (left === pointerAt) return;
            pointerAt = left;
            callbacks.onPoint(pointedAt(u, left));
          },
        ],
        setSelect: [
          (u) => {
            const { left, width } = u.select;
            if (width < 6) return;
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            callbacks.onZoom(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'));
          },
        ],
      },
    },
    table(picture),
    place,
  );

  const line = marker(plot.over, 'cursor-line');
  const dot = marker(plot.over, 'cursor-dot');

  function pointedAt(u: uPlot, left: number): Pointed | null {
    if (left < 0) return null;
    const time = u.posToVal(left, 'x');
    const inGap = picture.series.gaps.some((gap) => time > gap.from && time < gap.to);
    const index = inGap ? null : nearest(picture.series.samples, time);
    const sample = index === null ? undefined : picture.series.samples[index];
    return { index, time, left: left + u.over.offsetLeft, top: sample ? u.valToPos(sample.mean, 'y') + u.over.offsetTop : 0 };
  }

  const letGo = touch(plot.over, {
    move: (left) => callbacks.onPoint(pointedAt(plot, left)),
    span: () => [picture.series.from, picture.series.to],
    preview: (from, to) => {
      picture = { ...picture, series: { ...picture.series, from, to } };
      plot.setData(table(picture));
    },
    zoom: callbacks.onZoom,
    reset: callbacks.onReset,
  });

  let width = place.clientWidth;
  const resizer = new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    plot.setSize(size(place));
  });
  resizer.observe(place);

  return {
    show(next) {
      picture = next;
      plot.setData(table(next));
    },
    point(index) {
      const sample = index === null ? undefined : picture.series.samples[index];
      line.hidden = dot.hidden = !sample;
      if (!sample) return;
      const x = plot.valToPos(sample.at, 'x');
      line.style.transform = `translateX(${x}px)`;
      dot.style.transform = `translate(${x}px, ${plot.valToPos(sample.mean, 'y')}px)`;
    },
    recolour() {
      colours = palette(place);
      plot.redraw(true, true);
    },
    destroy() {
      letGo();
      resizer.disconnect();
      plot.destroy();
    },
  };
}

const FONT = '12px system-ui, sans-serif';

const size = (place: HTMLElement) => ({
  width: Math.max(200, place.clientWidth),
  height: Math.max(260, Math.min(400, Math.round(place.clientWidth * 0.62))),
});

function table(picture: Picture): uPlot.AlignedData {
  const { x, mean, min, max } = columns(picture.series);
  return [x, mean, min, max];
}

/** Points only where a value stands alone between two gaps and a line would not show it. */
function lonely(u: uPlot): number[] {
  const values = u.data[1] as (number | null)[];
  const found: number[] = [];
  values.forEach((value, i) => {
    if (value != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
  });
  return found;
}

function marker(over: HTMLElement, name: string): HTMLElement {
  const element = document.createElement('div');
  element.className = name;
  element.hidden = true;
  over.append(element);
  return element;
}
