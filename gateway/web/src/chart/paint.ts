// What lies behind and over the line: bands, gaps, labels. Draws on uPlot's canvas.

import type uPlot from 'uplot';
import { between, clock, moment } from '../format';
import { strings } from '../strings';
import type { Picture } from './picture';

/** Colours come from the style sheet, so themes and forced colours hold for the canvas too. */
export interface Palette {
  text: string;
  grid: string;
  good: string;
  soon: string;
  now: string;
  soonTint: string;
  nowTint: string;
  spread: string;
  hatch: string;
  paper: string;
}

export function palette(place: HTMLElement): Palette {
  const style = getComputedStyle(place);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim() || 'CanvasText';
  return {
    text: colour('ink-soft'), grid: colour('chart-grid'), good: colour('good'), soon: colour('soon'),
    now: colour('chart-now'), soonTint: colour('chart-soon-tint'), nowTint: colour('chart-now-tint'),
    spread: colour('chart-spread'), hatch: colour('chart-hatch'), paper: colour('paper'),
  };
}

/** Bands, gaps and the outdoor line: under the data. */
export function drawBack(u: uPlot, picture: Picture, colours: Palette): void {
  const { ctx } = u;
  const box = u.bbox;
  const x = (at: number) => u.valToPos(at, 'x', true);
  const y = (value: number) => Math.min(box.top + box.height, Math.max(box.top, u.valToPos(value, 'y', true)));
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.width, box.height);
  ctx.clip();
  if (picture.bands) {
    const soon = y(picture.bands.soon_from);
    const now = y(picture.bands.now_from);
    ctx.fillStyle = colours.soonTint;
    ctx.fillRect(box.left, now, box.width, soon - now);
    ctx.fillStyle = colours.nowTint;
    ctx.fillRect(box.left, box.top, box.width, now - box.top);
  }
  for (const gap of picture.series.gaps) hatch(ctx, x(gap.from), x(gap.to), box, colours);
  // Over the hatching: a level holds whether or not somebody measured.
  if (picture.bands) {
    if (picture.bands.soon_from < picture.y[1]) dashed(ctx, box, y(picture.bands.soon_from), colours.soon, [6, 4]);
    if (picture.bands.now_from < picture.y[1]) dashed(ctx, box, y(picture.bands.now_from), colours.now, [6, 4]);
  }
  if (picture.outdoor !== null) dashed(ctx, box, y(picture.outdoor), colours.text, [1, 4]);
  ctx.restore();
}

/** Labels: over the data, so that a line never makes one unreadable. */
export function drawFront(u: uPlot, picture: Picture, colours: Palette): void {
  const { ctx } = u;
  const box = u.bbox;
  const px = devicePixelRatio || 1;
  const label = (text: string, x: number, y: number, align: CanvasTextAlign) => {
    ctx.textAlign = align;
    ctx.lineWidth = 4 * px;
    ctx.strokeStyle = colours.paper;
    ctx.strokeText(text, x, y);
    ctx.fillText(text, x, y);
  };
  ctx.save();
  ctx.font = `${11.5 * px}px system-ui, sans-serif`;
  ctx.fillStyle = colours.text;
  ctx.lineJoin = 'round';
  ctx.textBaseline = 'bottom';
  const right = box.left + box.width - 6 * px;
  const inside = (value: number) => value > picture.y[0] && value < picture.y[1];
  // The levels have their names at the right edge; other labels stay clear of them.
  const free = box.left + box.width - (picture.bands && inside(picture.bands.soon_from) ? 100 * px : 0);
  if (picture.bands) {
    const { soon_from, now_from } = picture.bands;
    if (inside(now_from)) label(`■ ${strings.chart.nowFrom(now_from)}`, right, u.valToPos(now_from, 'y', true) - 3 * px, 'right');
    if (inside(soon_from)) label(`▲ ${strings.chart.soonFrom(soon_from)}`, right, u.valToPos(soon_from, 'y', true) - 3 * px, 'right');
  }
  if (picture.outdoor !== null && inside(picture.outdoor)) {
    label(strings.chart.outdoor, right, u.valToPos(picture.outdoor, 'y', true) - 3 * px, 'right');
  }
  for (const gap of picture.series.gaps) {
    const left = u.valToPos(gap.from, 'x', true);
    const width = u.valToPos(gap.to, 'x', true) - left;
    const lines = gapText(gap, picture);
    const widest = Math.max(...lines.map((line) => ctx.measureText(line).width));
    const whole = lines.join(' ');
    // A label wider than its gap would claim time that has data; a narrow gap gets it upright, and
    // one too narrow for that still has it in the tooltip and the table.
    if (widest + 8 * px <= width) {
      const middle = Math.max(left + widest / 2 + 4 * px, (left + Math.min(left + width, free)) / 2);
      lines.forEach((line, row) => label(line, middle, box.top + (22 + row * 15) * px, 'center'));
    } else if (width >= 15 * px && ctx.measureText(whole).width + 12 * px < box.height) {
      ctx.save();
      ctx.translate(left + width / 2 + 7 * px, box.top + 8 * px);
      ctx.rotate(-Math.PI / 2);
      label(whole, 0, 0, 'right');
      ctx.restore();
    }
  }
  ctx.restore();
}

/** One line when the gap is short in words, else two. */
export function gapText(gap: { from: number; to: number }, picture: Picture): string[] {
  const { from, to } = picture.series;
  // Within two days the axis says which day it is.
  const time = (ms: number) => (to - from <= 172_800_000 ? clock(ms, picture.zone) : moment(ms, picture.zone, to));
  const open = to - from < 1000 ? 0 : 1000;
  if (picture.series.samples.length === 0) return [strings.room.noData];
  if (gap.from <= from + open) return [strings.chart.gapUntil(time(gap.to))];
  if (gap.to >= to - open) return [strings.chart.gapSince(time(gap.from))];
  const [start, end] = to - from <= 172_800_000 ? [time(gap.from), time(gap.to)] : between(gap.from, gap.to, picture.zone, to);
  return [strings.chart.gapWord, `${start}–${end}`];
}

/** The line takes the colour of the band it runs through. */
export function lineColour(u: uPlot, picture: Picture, colours: Palette): string | CanvasGradient {
  if (!picture.bands) return colours.good;
  const [low, high] = picture.y;
  const top = u.valToPos(high, 'y', true);
  const bottom = u.valToPos(low, 'y', true);
  if (!Number.isFinite(top) || !Number.isFinite(bottom)) return colours.good;
  const gradient = u.ctx.createLinearGradient(0, bottom, 0, top);
  const at = (value: number) => Math.min(1, Math.max(0, (value - low) / (high - low)));
  const { soon_from, now_from } = picture.bands;
  gradient.addColorStop(0, colours.good);
  gradient.addColorStop(at(soon_from), colours.good);
  gradient.addColorStop(at(soon_from), colours.soon);
  gradient.addColorStop(at(now_from), colours.soon);
  gradient.addColorStop(at(now_from), colours.now);
  gradient.addColorStop(1, colours.now);
  return gradient;
}

function dashed(ctx: CanvasRenderingContext2D, box: uPlot.BBox, y: number, colour: string, dash: number[]): void {
  const px = devicePixelRatio || 1;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = px;
  ctx.setLineDash(dash.map((n) => n * px));
  ctx.beginPath();
  ctx.moveTo(box.left, y);
  ctx.lineTo(box.left + box.width, y);
  ctx.stroke();
  ctx.restore();
}

function hatch(ctx: CanvasRenderingContext2D, left: number, right: number, box: uPlot.BBox, colours: Palette): void {
  const px = devicePixelRatio || 1;
  const { top, height } = box;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, right - left, height);
  ctx.fillStyle = colours.paper;
  ctx.fill();
  ctx.clip();
  ctx.strokeStyle = colours.hatch;
  ctx.lineWidth = px;
  ctx.beginPath();
  // Starts on a fixed raster, so stripes do not crawl while the chart moves.
  const step = 9 * px;
  for (let at = Math.floor((left - height) / step) * step; at < right; at += step) {
    ctx.moveTo(at, top + height);
    ctx.lineTo(at + height, top);
  }
  ctx.stroke();
  ctx.restore();
}
