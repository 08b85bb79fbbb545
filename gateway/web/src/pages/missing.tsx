// For addresses that lead nowhere, and rooms that do not exist.

import { strings } from '../strings';
import type { Page } from './index';

export function Missing({ title }: { title: string }) {
  return (
    <main id="main" class="missing">
      <div class="missing-window" aria-hidden="true"><i /><i /><i /><i /></div>
      <h1 tabIndex={-1}>{title}</h1>
      <p>{strings.missing.text}</p>
      <p><a class="button" href="/">{strings.missing.back}</a></p>
    </main>
  );
}

export const missing: Page = {
  match: () => '',
  title: () => strings.missing.title,
  View: () => <Missing title={strings.missing.title} />,
};
