// The certificate: is it good, until when, what happens next, what went wrong. Loaded when the page is opened.

import '../styles/certificate.css';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { signIn, type Certificate } from '../api';
import { Attempts } from '../certificate/attempts';
import { Account, Chain, Facts } from '../certificate/details';
import { headlineBelow, isLate, remaining, standingOf, type Asked } from '../certificate/facts';
import { LifetimeBar } from '../certificate/lifetime';
import { minute } from '../certificate/minute';
import { Next } from '../certificate/next';
import { Padlock } from '../certificate/padlock';
import { Prose } from '../certificate/prose';
import { words } from '../certificate/strings';
import { useCertificate } from '../certificate/watch';
import { moment } from '../format';
import { focusHeading } from '../router';
import { zone } from '../state';
import { strings } from '../strings';
import { latest, verdictWord } from './certificate';

export function CertificateView() {
  const [asked, setAsked] = useState<Asked | null>(null);
  const { failed, closed, look } = useCertificate(asked);
  const certificate = latest.value;
  return (
    <main id="main" class="certificate">
      <p class="back"><a href="/">← {strings.room.back}</a></p>
      {closed ? <Closed /> : !certificate ? <Waiting failed={failed} retry={look} /> : (
        <>
          <div role="alert">
            {failed && (
              <p class="failed">{words.asOf(moment(certificate.server_time_ms, zone.value, minute.value))} <button type="button" class="quiet" onClick={look}>{strings.retry}</button></p>
            )}
          </div>
          <Hero certificate={certificate} />
          <Columns certificate={certificate} asked={asked} onAsked={(now) => { setAsked(now); look(); }} />
        </>
      )}
    </main>
  );
}

/** What happens, and what is. Where nothing is ordered there is little to happen. */
function Columns({ certificate, asked, onAsked }: { certificate: Certificate; asked: Asked | null; onAsked(asked: Asked): void }) {
  const { acme } = certificate;
  const facts = <Facts certificate={certificate} />;
  return (
    <div class="certificate-columns">
      <div>
        <Next certificate={certificate} asked={asked} onAsked={onAsked} />
        {acme ? <Attempts attempts={acme.attempts} /> : facts}
      </div>
      <div>
        {acme && facts}
        <Chain certificate={certificate} />
        {acme && <Account acme={acme} />}
      </div>
    </div>
  );
}

function Hero({ certificate }: { certificate: Certificate }) {
  const at = minute.value;
  const standing = standingOf(certificate, at);
  const { verdict, acme } = certificate;
  const tags = [isLate(certificate, at) && words.endsSoon, acme?.running ? words.isRunning : acme?.stopped && words.isStopped].filter(Boolean);
  const word = verdictWord(certificate);
  const { value, unit, word: of } = remaining(certificate, at);
  return (
    <section class="pane room-pane certificate-pane" data-standing={standing} data-verdict={verdict} data-testid="certificate">
      <div class="sash">
        <span class="air" aria-hidden="true" />
        <div class="pane-name"><h1 tabIndex={-1}>{strings.certificate.title}</h1></div>
        <div class="lock">
          <Padlock verdict={verdict} />
          <div class="lock-words">
            <p class="lock-word">{word}{tags.map((tag) => <span key={tag} class="tag">{tag}</span>)}</p>
            <p class="lock-headline" data-testid="headline"><Prose text={headlineBelow(certificate.headline, word, acme?.stopped?.text)} /></p>
          </div>
          <p class="figure">
            <span class="value">{value}</span>
            <span class="unit"><span>{unit}</span> <span class="quantity">{of}</span></span>
          </p>
        </div>
        <LifetimeBar certificate={certificate} />
      </div>
    </section>
  );
}

function Waiting({ failed, retry }: { failed: boolean; retry(): void }) {
  const heading = useRef<HTMLHeadingElement>(null);
  // Whoever had come to this heading comes to the one that takes its place.
  useLayoutEffect(() => {
    const mine = heading.current;
    return () => {
      if (document.activeElement === mine) focusHeading();
    };
  }, []);
  return (
    <>
      <h1 ref={heading} tabIndex={-1}>{strings.certificate.title}</h1>
      <p role="status">
        {failed ? <>{strings.failed} <button type="button" class="quiet" onClick={retry}>{strings.retry}</button></> : strings.loading}
      </p>
    </>
  );
}

/** A public dashboard shows the rooms to everybody, this only to its own people. */
function Closed() {
  return (
    <div class="missing">
      <h1 tabIndex={-1}>{strings.certificate.title}</h1>
      <p>{words.closed}</p>
      <p><button type="button" class="button" onClick={signIn}>{strings.signIn}</button></p>
    </div>
  );
}
