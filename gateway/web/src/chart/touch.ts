// Fingers on the chart: sideways reads values, two fingers zoom, up and down scrolls the page.

export interface TouchActions {
  /** One finger at this pixel. */
  move(left: number): void;
  span(): [number, number];
  preview(from: number, to: number): void;
  zoom(from: number, to: number): void;
  reset(): void;
}

const DOUBLE_TAP_MS = 300;

/** Returns what undoes it. */
export function touch(over: HTMLElement, actions: TouchActions): () => void {
  // The browser keeps vertical swipes; without this it would also keep sideways ones.
  over.style.touchAction = 'pan-y';
  const fingers = new Map<number, number>();
  let pinch: { at: [number, number]; span: [number, number] } | null = null;
  let wanted: [number, number] | null = null;
  let tappedAt = 0;

  const leftOf = (event: PointerEvent) => event.clientX - over.getBoundingClientRect().left;
  const pair = () => [...fingers.values()].sort((a, b) => a - b) as [number, number];

  function down(event: PointerEvent): void {
    if (event.pointerType !== 'touch') return;
    fingers.set(event.pointerId, leftOf(event));
    if (fingers.size === 2) pinch = { at: pair(), span: actions.span() };
    if (fingers.size === 1) {
      if (event.timeStamp - tappedAt < DOUBLE_TAP_MS) actions.reset();
      tappedAt = event.timeStamp;
    }
  }

  function move(event: PointerEvent): void {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, leftOf(event));
    if (pinch && fingers.size === 2) {
      wanted = pinched(pinch.span, pinch.at, pair(), over.clientWidth);
      actions.preview(...wanted);
    } else if (fingers.size === 1) {
      actions.move(leftOf(event));
    }
  }

  function up(event: PointerEvent): void {
    fingers.delete(event.pointerId);
    if (pinch && fingers.size < 2) {
      if (wanted) actions.zoom(...wanted);
      pinch = null;
      wanted = null;
    }
  }

  over.addEventListener('pointerdown', down);
  over.addEventListener('pointermove', move);
  over.addEventListener('pointerup', up);
  over.addEventListener('pointercancel', up);
  return () => {
    over.removeEventListener('pointerdown', down);
    over.removeEventListener('pointermove', move);
    over.removeEventListener('pointerup', up);
    over.removeEventListener('pointercancel', up);
  };
}

/** The span in which both fingers stay on the times they first touched. */
export function pinched(
  [from, to]: [number, number], before: [number, number], after: [number, number], width: number,
): [number, number] {
  const time = (left: number) => from + (left / width) * (to - from);
  const perPixel = (time(before[1]) - time(before[0])) / Math.max(20, after[1] - after[0]);
  const start = time(before[0]) - after[0] * perPixel;
  return [start, start + width * perPixel];
}
