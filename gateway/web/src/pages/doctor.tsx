// The page of the checks: what is wrong around the gateway, and how to mend it. For administrators.

import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { strings } from '../strings';
import type { Page } from './index';

const view = signal<ComponentType | null>(null);

export const doctor: Page = {
  match: (path) => (/^\/doctor\/?$/.test(path) ? '' : null),
  title: () => strings.doctor.title,
  // Few look at it and none daily; its view and its style sheet come when somebody does.
  load: async () => {
    view.value ??= (await import('./doctor-view')).DoctorView;
  },
  View: () => {
    const View = view.value;
    return View ? <View /> : <main id="main"><h1 tabIndex={-1}>{strings.doctor.title}</h1></main>;
  },
};
