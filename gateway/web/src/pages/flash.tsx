// The page that puts firmware onto a board: its address, its title, and where its view comes from.

import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { strings } from '../strings';
import type { Page } from './index';

const view = signal<ComponentType | null>(null);

export const flash: Page = {
  match: (path) => (path === '/flash' ? '' : null),
  title: () => strings.flash.title,
  // Serial ports are open to this document alone (Permissions-Policy).
  apart: true,
  load: async () => {
    view.value ??= (await import('./flash-view')).FlashView;
  },
  View: () => {
    const View = view.value;
    return View ? <View /> : <main id="main"><h1 tabIndex={-1}>{strings.flash.title}</h1></main>;
  },
};
