// One usable locale for numbers and dates, and a repair for browsers that report an impossible one.
//
// Chromium under LANG=C says `en-US@posix`, which is not a language tag; every Intl constructor
// throws on it, and uPlot calls one while it loads. This module therefore runs before uPlot's chunk.

export const locale = usable(reported()) ?? repaired();

// Node 20, where the tests run, has no navigator.
function reported(): string | undefined {
  return typeof navigator === 'undefined' ? 'en-GB' : navigator.language;
}

function usable(tag: string | undefined): string | null {
  try {
    return tag ? new Intl.NumberFormat(tag).resolvedOptions().locale : null;
  } catch {
    return null;
  }
}

function repaired(): string {
  const tag = usable(reported()?.split('@')[0]) ?? 'en';
  try {
    Object.defineProperty(navigator, 'language', { value: tag, configurable: true });
  } catch {
    // A browser that forbids this keeps its own tag; our own formatting still uses a good one.
  }
  return tag;
}
