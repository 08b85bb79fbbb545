// Work that should not hold back what is about to be painted.

/** Calls back after the next frame. A hidden page has no frames; there it is soon instead. */
export function afterFrame(work: () => void): void {
  if (document.hidden) setTimeout(work);
  else requestAnimationFrame(() => setTimeout(work));
}
