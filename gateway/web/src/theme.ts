// Light, dark, or as the system says. early.js applies the choice before the first paint.

import { signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';
const ORDER: readonly Theme[] = ['auto', 'light', 'dark'];
const KEY = 'casement-theme';

export const theme = signal<Theme>(stored());
/** Counts every change of colours, for what is drawn on a canvas. */
export const colours = signal(0);

function stored(): Theme {
  const applied = document.documentElement.dataset.theme;
  return applied === 'light' || applied === 'dark' ? applied : 'auto';
}

export function nextTheme(): void {
  const next = ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length] as Theme;
  theme.value = next;
  if (next === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === 'auto') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Storage switched off: the choice lasts as long as the page.
  }
  colours.value++;
}

for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)', '(prefers-contrast: more)']) {
  matchMedia(query).addEventListener?.('change', () => colours.value++);
}
