// Wall-clock time in the site's IANA zone. Pure; Intl carries the rules.

export interface Wall {
  year: number;
  month: number; // 1..12
  day: number;
  hour: number;
  minute: number;
  second: number;
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string): Intl.DateTimeFormat {
  let found = formatters.get(zone);
  if (!found) {
    found = new Intl.DateTimeFormat('en-US', {
      timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric',
      hour: 'numeric', minute: 'numeric', second: 'numeric',
    });
    formatters.set(zone, found);
  }
  return found;
}

/** The zone itself if this browser knows it, else UTC: a wrong clock is worse than a foreign one. */
export function knownZone(zone: string): string {
  try {
    formatter(zone);
    return zone;
  } catch {
    return 'UTC';
  }
}

export function toWall(ms: number, zone: string): Wall {
  const wall: Record<string, number> = {};
  for (const part of formatter(zone).formatToParts(ms)) {
    if (part.type !== 'literal') wall[part.type] = Number(part.value);
  }
  return wall as unknown as Wall;
}

/**
 * The instant at which clocks in the zone show this wall time.
 *
 * In the hour that a spring change skips, the instant just after it; in the repeated autumn hour,
 * the first of the two. Fields may overflow ("day 32"), as with `Date.UTC`.
 */
export function fromWall(wall: Partial<Wall> & { year: number; month: number; day: number }, zone: string): number {
  const asUtc = Date.UTC(wall.year, wall.month - 1, wall.day, wall.hour ?? 0, wall.minute ?? 0, wall.second ?? 0);
  const before = asUtc - offset(asUtc - 86_400_000, zone);
  const after = asUtc - offset(asUtc + 86_400_000, zone);
  for (const guess of [Math.min(before, after), Math.max(before, after)]) {
    if (guess + offset(guess, zone) === asUtc) return guess;
  }
  return Math.max(before, after);
}

function offset(ms: number, zone: string): number {
  const w = toWall(ms, zone);
  return Date.UTC(w.year, w.month - 1, w.day, w.hour, w.minute, w.second) - Math.floor(ms / 1000) * 1000;
}

/** `2026-11-22T10:30`, the shape of a datetime-local field. */
export function toField(ms: number, zone: string): string {
  const w = toWall(ms, zone);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${w.year}-${two(w.month)}-${two(w.day)}T${two(w.hour)}:${two(w.minute)}`;
}

export function fromField(text: string, zone: string): number | null {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)/.exec(text);
  if (!match) return null;
  const [year, month, day, hour, minute] = match.slice(1).map(Number) as [number, number, number, number, number];
  return fromWall({ year, month, day, hour, minute }, zone);
}
