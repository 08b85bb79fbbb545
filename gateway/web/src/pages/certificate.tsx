// The page of the certificate: its address, its title, and where its view comes from.

import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Certificate } from '../api';
import { focusHeading } from '../router';
import { strings } from '../strings';
import type { Page } from './index';

/** What the gateway said last; kept while other pages are looked at. */
export const latest = signal<Certificate | null>(null);

/** `expired` stands for both ends. */
export const verdictWord = ({ verdict, shown, server_time_ms: at }: Certificate): string =>
  verdict === 'expired' && at < shown.not_before_ms ? strings.certificate.notYet : strings.certificate.verdict[verdict];

const view = signal<ComponentType | null>(null);

export const certificate: Page = {
  match: (path) => (/^\/certificate\/?$/.test(path) ? '' : null),
  title: () => {
    const { title } = strings.certificate;
    return latest.value ? `${verdictWord(latest.value)} · ${title}` : title;
  },
  // Few look at it and none daily; its view and its style sheet come when somebody does.
  load: async () => {
    view.value ??= (await import('./certificate-view')).CertificateView;
  },
  View: () => {
    const View = view.value;
    // The heading that had the focus was a stand-in until the view arrived.
    const waited = useRef(!View);
    useEffect(() => {
      if (View && waited.current && document.activeElement === document.body) focusHeading();
    }, [View]);
    return View ? <View /> : <main id="main"><h1 tabIndex={-1}>{strings.certificate.title}</h1></main>;
  },
};
