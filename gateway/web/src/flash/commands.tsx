// The way without Web Serial: the same in four lines of a shell.

import type { Flash } from '../api';
import { words } from './strings';

/** Where a board looks for settings that were flashed (firmware/tools/partitions.py). */
const SETUP_AT = '0x3D0000';

export function Commands({ flash, open }: { flash: Flash; open: boolean }) {
  const images = flash.boards.flatMap(({ board, image }) => (image ? [{ board, image }] : []));
  const board = images[0]?.board ?? 'stamp-c3';
  const steps = [
    [words.commandImage, `espflash write-bin 0x0 casement-${board}.bin`],
    [words.commandSettings, `casement device image room-101 --room "Room 101" \\\n  --wifi "NETWORK" --url ${location.origin}`],
    [words.commandFlash, `espflash write-bin ${SETUP_AT} room-101.settings.bin`],
  ] as const;
  return (
    <details class="paper flash-commands" open={open}>
      <summary>{words.commands}</summary>
      <p class="soft">{words.commandsLead}</p>
      {images.length > 0 && (
        <p class="flash-downloads">
          <span>{words.downloads}</span>
          {images.map(({ board: name, image }) => (
            <a key={name} href={image.url} download={`casement-${name}.bin`}>{words.boards[name] ?? name} {image.version} <small>{words.size(Math.round(image.bytes / 1000))}</small></a>
          ))}
        </p>
      )}
      <ol role="list">
        {steps.map(([what, line], index) => (
          <li key={what}>
            <span class="flash-number" aria-hidden="true">{index + 1}</span>
            <p>{what}</p>
            <pre tabIndex={0}><code>{line}</code></pre>
          </li>
        ))}
      </ol>
    </details>
  );
}
