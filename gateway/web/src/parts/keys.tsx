// The list of keys, on demand.

import type { RefObject } from 'preact';
import { strings } from '../strings';

export function Keys({ dialog }: { dialog: RefObject<HTMLDialogElement | null> }) {
  return (
    <dialog ref={dialog} class="keys" aria-labelledby="keys-title">
      <h2 id="keys-title">{strings.room.help}</h2>
      <dl>
        {strings.keys.map(([key, text]) => (
          <div key={key}><dt><kbd>{key}</kbd></dt><dd>{text}</dd></div>
        ))}
      </dl>
      <form method="dialog"><button type="submit" class="button">{strings.room.close}</button></form>
    </dialog>
  );
}
