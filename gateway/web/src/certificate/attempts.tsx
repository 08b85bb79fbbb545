// The last attempts, in plain words.

import type { Attempt } from '../api';
import { age, moment } from '../format';
import { zone } from '../state';
import { attemptReason, outcome, outcomeText, took } from './facts';
import { minute } from './minute';
import { Prose } from './prose';
import { words } from './strings';

const SHAPE = { issued: '●', rehearsed: '○', failed: '✕' };

export function Attempts({ attempts }: { attempts: readonly Attempt[] }) {
  return (
    <section class="attempts" aria-labelledby="attempts">
      <h2 id="attempts">{words.attempts}</h2>
      {attempts.length === 0 ? <p class="soft">{words.noAttempts}</p> : (
        <ol class="paper" role="list">
          {attempts.map((attempt, i) => <Row key={attempt.at_ms} attempt={attempt} again={attempt.fix !== null && attempt.fix === attempts[i - 1]?.fix} />)}
        </ol>
      )}
    </section>
  );
}

/** `again`: the attempt after it failed in the same way, so what to do is said there. */
function Row({ attempt, again }: { attempt: Attempt; again: boolean }) {
  const what = outcome(attempt);
  const word = what === 'failed' && attempt.dry_run ? words.outcome.rehearsalFailed : words.outcome[what];
  const { detail, fix, problem } = attempt;
  const about = attempt.names.join(', ');
  return (
    <li class="attempt" data-outcome={what}>
      <p class="attempt-head">
        <b><span class="shape" aria-hidden="true">{SHAPE[what]}</span> {word}</b>
        <time dateTime={new Date(attempt.at_ms).toISOString()}>{moment(attempt.at_ms, zone.value, minute.value)}</time>
        <span>{age(minute.value - attempt.at_ms)}</span>
      </p>
      <p><Prose text={outcomeText(attempt, zone.value)} /></p>
      {fix && !again && <p class="fix"><b>{words.next.fix}:</b> <Prose text={fix} /></p>}
      <p class="attempt-how">
        {[attemptReason(attempt), attempt.challenge && words.by(attempt.challenge), words.took(took(attempt.took_ms))].filter(Boolean).join(' · ')}
      </p>
      {detail && (
        <details>
          <summary>{words.detail}</summary>
          <pre tabIndex={0}><code>{problem && `${problem}: `}{detail}</code></pre>
          {about && <p class="soft">{words.about} {about}</p>}
        </details>
      )}
    </li>
  );
}
