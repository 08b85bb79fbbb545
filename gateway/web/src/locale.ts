// One usable locale for numbers and dates, whatever the browser reports.
//
// Chromium under LANG=C says `en-US@posix`, which is not a language tag; every Intl constructor
// throws on it. (uPlot would pass it to one: vite.config.ts takes care of that.)

export const locale = usable(reported()) ?? usable(reported()?.split('@')[0]) ?? 'en';

// Node 20, where the tests run, has no navigator.
function reported(): string | undefined {
  return typeof navigator === 'undefined' ? 'en-GB' : navigator.language;
}

/** Asks for the tag's form only: the first real Intl object of a page costs some 20 ms. */
function usable(tag: string | undefined): string | null {
  try {
    return (tag && Intl.getCanonicalLocales(tag)[0]) || null;
  } catch {
    return null;
  }
}
