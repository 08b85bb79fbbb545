// The keyboard cursor of a chart: which point a key leads to. Pure.

/** The next index, or null when the key is not a cursor key or there is nothing to read. */
export function cursorAfter(key: string, shift: boolean, at: number | null, length: number): number | null {
  if (length === 0) return null;
  const last = length - 1;
  const step = shift ? 10 : 1;
  switch (key) {
    case 'Home': return 0;
    case 'End': return last;
    // The newest point is the one most people want to hear first.
    case 'ArrowLeft': return at === null ? last : Math.max(0, at - step);
    case 'ArrowRight': return at === null ? last : Math.min(last, at + step);
    default: return null;
  }
}

/** The sample nearest to a time; null when there are none. Samples are in time order. */
export function nearest(samples: readonly { at: number }[], time: number): number | null {
  let low = 0;
  let high = samples.length - 1;
  if (high < 0) return null;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((samples[middle] as { at: number }).at < time) low = middle + 1;
    else high = middle;
  }
  const after = samples[low] as { at: number };
  const before = samples[low - 1];
  return before && time - before.at < after.at - time ? low - 1 : low;
}
