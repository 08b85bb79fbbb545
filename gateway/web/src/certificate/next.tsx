// What runs, what is planned, what stands in the way, and the two buttons.

import { useState } from 'preact/hooks';
import { signIn, type Acme, type Certificate } from '../api';
import { duration, moment } from '../format';
import { now, serverTime, site, zone } from '../state';
import { strings } from '../strings';
import { allowance, cameOf, mustTry, nextWhy, outcome, outcomeText, until, WEEKLY_MAX, type Asked } from './facts';
import { Prose } from './prose';
import { words } from './strings';
import { ask } from './watch';

interface NextProps {
  certificate: Certificate;
  asked: Asked | null;
  onAsked(asked: Asked): void;
}

export function Next({ certificate, asked, onAsked }: NextProps) {
  const { acme } = certificate;
  return (
    <section class="next" aria-labelledby="next">
      <h2 id="next">{words.next.title}</h2>
      <div class="paper">
        {acme ? <>
          {acme.stopped ? <Stopped acme={acme} /> : acme.last_error && <Failed acme={acme} />}
          <div role="status">{acme.running && <Running acme={acme} />}</div>
          {!acme.running && <Planned acme={acme} />}
          <Buttons certificate={certificate} acme={acme} asked={asked} onAsked={onAsked} />
        </> : <Elsewhere source={certificate.source} />}
      </div>
    </section>
  );
}

function Stopped({ acme: { stopped } }: { acme: Acme }) {
  return stopped && (
    <div class="trouble" data-trouble="stopped" data-testid="stopped">
      <h3><span class="shape" aria-hidden="true">■</span> {words.next.stopped(moment(stopped.since_ms, zone.value, now.value))}</h3>
      <p class="trouble-text"><Prose text={stopped.text} /></p>
      <p class="fix"><b>{words.next.fix}:</b> <Prose text={stopped.fix} /></p>
      <p class="soft">{words.next.stoppedNote}</p>
    </div>
  );
}

function Failed({ acme: { last_error: error } }: { acme: Acme }) {
  return error && (
    <div class="trouble" data-trouble="failed" data-testid="failed">
      <h3><span class="shape" aria-hidden="true">▲</span> {words.next.failed} <small>{moment(error.at_ms, zone.value, now.value)}</small></h3>
      <p class="trouble-text"><Prose text={error.text ?? words.failedSomehow} /></p>
      {error.fix && <p class="fix"><b>{words.next.fix}:</b> <Prose text={error.fix} /></p>}
    </div>
  );
}

function Running({ acme: { running } }: { acme: Acme }) {
  return running && (
    <p class="running" data-testid="running">
      <span class="running-dot" aria-hidden="true" />
      <b>{words.next.running}</b> <span>{running.step}</span> <Since at={running.since_ms} />
    </p>
  );
}

/** Outside the status region's words: a screen reader need not hear every second. */
function Since({ at }: { at: number }) {
  return <span class="soft" aria-hidden="true">{duration(Math.max(0, now.value - at))}</span>;
}

function Planned({ acme }: { acme: Acme }) {
  const at = acme.next_attempt_ms;
  if (at === null) return acme.stopped ? null : <p class="soft">{words.next.nothing}</p>;
  const url = acme.ari?.explanation_url;
  const explained = url?.startsWith('https://') ? url : null;
  return (
    <div class="planned" data-testid="planned">
      <p class="soft">{words.next.planned}</p>
      <p class="planned-when">{until(at - now.value)} <time dateTime={new Date(at).toISOString()}>{moment(at, zone.value, now.value)}</time></p>
      <p>{nextWhy(acme)}{explained && <>. <a href={explained} rel="noopener noreferrer">{words.next.explained}</a></>}</p>
    </div>
  );
}

/** The certificate comes from somewhere else: say from where, and what that means. */
function Elsewhere({ source }: { source: string }) {
  const kind = source.replace('_', '-');
  return (
    <>
      <p>{words.next.source[kind] ?? words.next.nothing}</p>
      {kind === 'self-signed' && <pre tabIndex={0}><code>{'[tls]\nsource = "acme"'}</code></pre>}
    </>
  );
}

function Buttons({ certificate, acme, asked, onAsked }: NextProps & { acme: Acme }) {
  const [asking, setAsking] = useState(false);
  const [refused, setRefused] = useState('');
  const busy = asking || acme.running !== null;
  const press = async (dryRun: boolean) => {
    if (busy) return;
    setAsking(true);
    setRefused('');
    const now: Asked = { at: serverTime(), newest: acme.attempts[0]?.at_ms ?? 0 };
    const why = await ask(dryRun);
    setAsking(false);
    if (why) setRefused(why);
    else onAsked(now);
  };
  if (!site.value.signed_in) {
    return (
      <div class="buttons">
        <p class="soft">{words.signedOut} <code>casement cert renew</code></p>
        <button type="button" class="quiet" onClick={signIn}>{strings.signIn}</button>
      </div>
    );
  }
  if (!certificate.may_renew) return <p class="soft">{words.readOnly} <code>casement cert renew</code></p>;
  // A button that has the focus keeps it while it can do nothing, so it is not `disabled`.
  const idle = { 'aria-disabled': busy, title: acme.running ? words.alreadyRunning : undefined };
  return (
    <div class="buttons">
      <button type="button" class="button" data-testid="renew" {...idle} onClick={() => press(false)}>
        {mustTry(certificate) ? words.tryAgain : words.renew}
      </button>
      <button type="button" class="quiet" data-testid="rehearse" {...idle} onClick={() => press(true)}>{words.rehearse}</button>
      <Answer refused={refused} acme={acme} asked={asked} />
      <Allowance acme={acme} />
      <p class="soft">{words.rehearseNote}</p>
    </div>
  );
}

/** What came of the button. */
function Answer({ refused, acme, asked }: { refused: string; acme: Acme; asked: Asked | null }) {
  const came = cameOf(asked, acme);
  const text = refused || (came ? outcomeText(came, zone.value) : asked && !acme.running ? words.asked : '');
  const what = refused ? 'failed' : came ? outcome(came) : 'asked';
  return (
    <p class="answer" role="status" data-outcome={what} data-testid="answer">
      {text && <><span class="shape" aria-hidden="true">{what === 'failed' ? '✕' : '●'}</span> <Prose text={text} /></>}
    </p>
  );
}

function Allowance({ acme }: { acme: Acme }) {
  const { used, of, text } = allowance(acme);
  return (
    <p class="allowance" data-spent={of !== null && used >= of}>
      {of !== null && (
        <span class="pips" aria-hidden="true">
          {Array.from({ length: WEEKLY_MAX }, (_, i) => <i key={i} data-used={i < used} />)}
        </span>
      )}
      <span>{text}</span>
    </p>
  );
}
