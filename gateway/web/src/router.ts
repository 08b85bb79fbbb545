// Pages change without a reload; the URL stays the truth.

import { signal } from '@preact/signals';

export interface Location {
  path: string;
  query: string;
}

export const here = signal<Location>(read());

function read(): Location {
  return { path: location.pathname, query: location.search };
}

export function navigate(url: string, how: 'push' | 'replace' = 'push'): void {
  const before = here.value.path;
  if (how === 'push') history.pushState(null, '', url);
  else history.replaceState(null, '', url);
  here.value = read();
  if (here.value.path !== before) {
    scrollTo(0, 0);
    focusHeading();
  }
}

/**
 * Follows links to our pages. `load` answers undefined for everything else on this host: the API,
 * sign-in, proxied routes.
 */
export function startRouter(load: (path: string) => (() => void) | undefined): void {
  addEventListener('popstate', () => {
    here.value = read();
    load(here.value.path)?.();
  });
  // A link that is pointed at will probably be followed.
  for (const hint of ['pointerover', 'focusin', 'touchstart']) {
    document.addEventListener(hint, (event) => {
      const link = linkOf(event);
      if (link) load(link.pathname)?.();
    }, { passive: true });
  }
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = linkOf(event);
    const start = link && load(link.pathname);
    if (!link || !start) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    start();
    navigate(link.pathname + link.search);
  });
}

function linkOf(event: Event): HTMLAnchorElement | null {
  const link = (event.target as Element | null)?.closest?.('a');
  return link && !link.target && !link.hasAttribute('download') && link.origin === location.origin ? link : null;
}

/** A screen reader hears where it has come to, and Tab goes on from there. */
export function focusHeading(): void {
  requestAnimationFrame(() => {
    document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
  });
}
