// What stands around every page: name, connection, theme, session.

import type { ComponentChildren } from 'preact';
import { clock } from '../format';
import { signIn } from '../api';
import { here } from '../router';
import { connection, now, site, zone } from '../state';
import { strings } from '../strings';
import { nextTheme, theme } from '../theme';

export function Shell({ children }: { children: ComponentChildren }) {
  const { name, signed_in } = site.value;
  return (
    <>
      <a class="skip" href="#main">{strings.skip}</a>
      <header class="top">
        <a class="mark" href="/">
          <svg viewBox="0 0 28 28" aria-hidden="true">
            <path class="mark-frame" d="M2 2h24v24H2z" />
            <path class="mark-pane" d="M5 5h7.5v7.5H5zM5 15.500h7.500V23H5zM15.500 15.500H23V23h-7.500z" />
            <path class="mark-open" d="M15.500 5L23 7v8l-7.500-2.500z" />
          </svg>
          <span>{name}</span>
        </a>
        <div class="top-end">
          <Connection />
          <ThemeButton />
          {signed_in ? (
            <form method="post" action="/logout"><button type="submit" class="quiet">{strings.signOut}</button></form>
          ) : (
            <button type="button" class="quiet sign-in" onClick={signIn}>{strings.signIn}</button>
          )}
        </div>
      </header>
      <div role="status">
        {connection.value.is === 'lost' && (
          <p class="lost"><span aria-hidden="true">✕</span> {strings.live.lost(clock(connection.value.since, zone.value))}</p>
        )}
      </div>
      {children}
      <Foot />
    </>
  );
}

/** Quiet ways to the pages that few need daily. */
function Foot() {
  return (
    <footer class="foot">
      {site.value.signed_in && (
        <a href="/flash" aria-current={here.value.path === '/flash' ? 'page' : undefined}>
          <svg viewBox="0 0 20 20" aria-hidden="true"><path d="M8.500 3h3v5.500H17v3h-5.500V17h-3v-5.500H3v-3h5.500z" /></svg>
          {strings.flash.title}
        </a>
      )}
      {site.value.signed_in && (
        <a href="/doctor" aria-current={here.value.path === '/doctor' ? 'page' : undefined}>
          <svg viewBox="0 0 20 20" aria-hidden="true"><path class="foot-shackle" d="M3 10.500l4.500 4.500L17 5" /></svg>
          {strings.doctor.title}
        </a>
      )}
      <a href="/certificate" aria-current={here.value.path === '/certificate' ? 'page' : undefined}>
        <svg viewBox="0 0 20 20" aria-hidden="true">
          <path class="foot-shackle" d="M6 10V6.500a4 4 0 0 1 8 0V10" />
          <path d="M4 9h12v9H4z" />
        </svg>
        {strings.certificate.title}
      </a>
    </footer>
  );
}

function Connection() {
  const state = connection.value;
  const text = state.is === 'lost' ? strings.live.offline
    : state.is === 'live' ? strings.live.live : strings.live.connecting;
  return (
    <p class="connection" data-connection={state.is}>
      <span class="dot" aria-hidden="true" />
      <span class="connection-text">{text}</span>
      <time class="clock">{clock(now.value, zone.value)}</time>
    </p>
  );
}

function ThemeButton() {
  return (
    <button type="button" class="quiet icon" onClick={nextTheme} aria-label={strings.theme[theme.value]} title={strings.theme[theme.value]}>
      <svg viewBox="0 0 20 20" aria-hidden="true" data-theme-icon={theme.value}>
        <circle cx="10" cy="10" r="7" class="sun" />
        <path d="M10 3a7 7 0 0 1 0 14z" class="night" />
      </svg>
    </button>
  );
}
