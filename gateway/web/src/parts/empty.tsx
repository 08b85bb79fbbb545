// The home page before the first device: three ways to go on.

import { useState } from 'preact/hooks';
import { strings } from '../strings';

export function Empty() {
  const options = [
    { title: strings.empty.device, text: strings.empty.deviceText, command: 'casement device add room-101 --room "Room 101"', way: <p><a class="button" href="/flash">{strings.empty.plug}</a></p> },
    { title: strings.empty.send, text: strings.empty.sendText, command: curl(location.origin) },
    { title: strings.empty.demo, text: strings.empty.demoText, command: `casement simulate --url ${location.origin} --devices 4` },
  ];
  return (
    <main id="main">
      <div class="lintel">
        <h1 tabIndex={-1}>{strings.headline.empty}</h1>
      </div>
      <p class="lead">{strings.empty.lead}</p>
      <ol class="window ways" role="list">
        {options.map((option, index) => (
          <li key={option.title} class="pane" data-standing="good">
            <div class="sash">
              <span class="air" aria-hidden="true" />
              <h2><span class="way" aria-hidden="true">{index + 1}</span> {option.title}</h2>
              <p>{option.text}</p>
              {option.way}
              <Command text={option.command} />
            </div>
          </li>
        ))}
      </ol>
    </main>
  );
}

const curl = (origin: string): string => `curl ${origin}/api/v1/readings \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"readings":[{"co2":612,"temperature":21.4}]}'`;

function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  // Only pages with a certificate (or localhost) may write to the clipboard.
  const copy = navigator.clipboard && (async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 2000);
    } catch {
      // Refused by the visitor; the text can still be selected.
    }
  });
  return (
    <div class="command">
      <pre tabIndex={0}><code>{text}</code></pre>
      {copy && <button type="button" class="quiet" onClick={copy}>{copied ? strings.empty.copied : strings.empty.copy}</button>}
    </div>
  );
}
