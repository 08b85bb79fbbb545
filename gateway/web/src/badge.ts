// The tab itself says how the air is: title and favicon carry the worst state.

import { effect } from '@preact/signals';
import type { Standing } from './band';
import { pageAt } from './pages';
import { here } from './router';
import { known, rooms, site, summary } from './state';

export function startBadge(): void {
  effect(() => {
    const title = pageAt(here.value.path).title(here.value.path, rooms.value, summary.value);
    document.title = title ? `${title} · ${site.value.name}` : site.value.name;
  });
  effect(() => {
    if (known.value) favicon(summary.value.total ? summary.value.worst : 'good');
  });
}

const FILL: Record<Standing, string> = {
  good: '#289f9f', soon: '#d17600', now: '#cc244e', none: '#8a94a0', offline: '#8a94a0',
};
// The shape lies over the panes, so the tab can be read without colour as well.
const MARK: Record<Standing, string> = {
  good: '',
  soon: '<path d="M32 16l20 34H12z" fill="#fff" stroke="#000" stroke-width="3"/>',
  now: '<path d="M16 16h32v32H16z" fill="#fff" stroke="#000" stroke-width="3"/>',
  none: '',
  offline: '<path d="M18 18l28 28m0-28L18 46" stroke="#fff" stroke-width="8"/>',
};

let shown: Standing | null = null;
function favicon(standing: Standing): void {
  if (shown === standing) return;
  shown = standing;
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="12" fill="#26313b"/>' +
    `<path fill="${FILL[standing]}" d="M11 10h19v20H11zm23 0h19v20H34zM11 34h19v20H11zm23 0h19v20H34z"/>${MARK[standing]}</svg>`;
  const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
  if (link) link.href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

