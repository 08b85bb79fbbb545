// The lifetime as a bar: what is over, now, when it is renewed, the end.

import type { Certificate } from '../api';
import { dateTime, edge, lifetimeOf, lifetimeText } from './facts';
import { minute } from './minute';
import { moment } from '../format';
import { zone } from '../state';
import { words } from './strings';

export function LifetimeBar({ certificate }: { certificate: Certificate }) {
  const { shown, acme } = certificate;
  const at = minute.value;
  const { now: over, window, planned } = lifetimeOf(certificate, at);
  const length = shown.not_after_ms - shown.not_before_ms;
  const when = (ms: number) => moment(ms, zone.value, at);
  return (
    <figure class="lifetime" data-testid="lifetime">
      <div class="bar" role="img" aria-label={lifetimeText(certificate, at, zone.value)}>
        <span class="bar-over" style={{ '--to': over }} />
        {window && <span class="bar-window" style={{ '--from': window.from, '--to': window.to }} />}
        {planned !== null && <span class="bar-planned" style={{ '--from': planned }} />}
        <span class="bar-now" style={{ '--from': over }} />
      </div>
      <div class="bar-ends" aria-hidden="true">
        <span title={dateTime(shown.not_before_ms, zone.value)}>{edge(shown.not_before_ms, length, zone.value)}</span>
        <span title={dateTime(shown.not_after_ms, zone.value)}>{shown.not_after_ms > at ? words.bar.ends : words.bar.ended} {edge(shown.not_after_ms, length, zone.value)}</span>
      </div>
      <ul class="bar-legend" role="list" aria-hidden="true">
        <li><i class="key-now" />{words.bar.now}, {words.bar.used(String(Math.round(over * 100)))}</li>
        {window && acme?.ari && <li><i class="key-window" />{words.bar.window}, {words.bar.windowWhy}: {when(acme.ari.start_ms)} – {when(acme.ari.end_ms)}</li>}
        {planned !== null && acme?.next_attempt_ms && <li><i class="key-planned" />{words.bar.planned}: {when(acme.next_attempt_ms)}</li>}
      </ul>
    </figure>
  );
}
