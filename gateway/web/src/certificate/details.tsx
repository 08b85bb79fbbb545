// What the certificate says of itself, who vouches for it, and the account it was ordered with.

import type { ComponentChildren } from 'preact';
import type { Acme, Certificate } from '../api';
import { fullDay } from '../format';
import { zone } from '../state';
import { dateTime, hstsWhy, namesOf, pairs, type Name } from './facts';
import { words } from './strings';

const SHAPE: Record<Name['state'], string> = { covered: '✓', missing: '✕', extra: '+' };

export function Facts({ certificate }: { certificate: Certificate }) {
  const { shown, hsts } = certificate;
  return (
    <section aria-labelledby="facts">
      <h2 id="facts">{words.facts}</h2>
      <dl class="paper facts">
        <Fact term={words.names}>
          <ul class="names" role="list">
            {namesOf(certificate).map(({ name, state, by }) => (
              <li key={name} data-state={state}>
                <span class="shape" aria-hidden="true">{SHAPE[state]}</span> <span class="name">{name}</span>
                {state === 'covered' ? <span class="visually-hidden"> {words.covered}</span> : <small> {words[state]}</small>}
                {by && <small> {words.by(by)}</small>}
              </li>
            ))}
          </ul>
        </Fact>
        <Fact term={words.issuer}>{shown.issuer || '—'}</Fact>
        {shown.subject && <Fact term={words.subject}>{shown.subject}</Fact>}
        <Fact term={words.key}>{shown.key}</Fact>
        <Fact term={words.from}>{dateTime(shown.not_before_ms, zone.value)}</Fact>
        <Fact term={words.to}>{dateTime(shown.not_after_ms, zone.value)}</Fact>
        <Fact term={words.origin}>{words.origins[shown.origin.replace('_', '-')] ?? shown.origin}</Fact>
        <Fact term={words.hstsName}><b>{hsts ? words.hsts.on : words.hsts.off}.</b> <span class="soft">{hstsWhy(certificate)}</span></Fact>
        <Fact term={words.serial}><Hex text={shown.serial} /></Fact>
        <Fact term={words.fingerprint}><Hex text={shown.sha256} /></Fact>
      </dl>
    </section>
  );
}

export function Chain({ certificate: { shown, verdict } }: { certificate: Certificate }) {
  const last = shown.chain[shown.chain.length - 1];
  const root = last ? (last.issuer === last.subject ? null : last.issuer) : verdict === 'self_signed' ? null : shown.issuer;
  return (
    <section aria-labelledby="chain">
      <h2 id="chain">{words.chain}</h2>
      <ol class="paper chain" role="list">
        <li>
          <b>{shown.names[0] ?? shown.subject}</b> <small>{words.chainShown}</small>
          <small>{shown.key}, {words.chainUntil(fullDay(shown.not_after_ms, zone.value))}</small>
        </li>
        {shown.chain.map((link) => (
          <li key={link.subject}>
            <b>{link.subject}</b> <small>{link.key}, {words.chainUntil(fullDay(link.not_after_ms, zone.value))}</small>
          </li>
        ))}
        {root && <li class="chain-root"><b>{root}</b> <small>{shown.publicly_trusted ? words.chainRoot : words.chainPrivateRoot}</small></li>}
        {!root && shown.chain.length === 0 && <li class="chain-root">{words.chainSelf}</li>}
      </ol>
    </section>
  );
}

export function Account({ acme }: { acme: Acme }) {
  return (
    <section aria-labelledby="account">
      <h2 id="account">{words.account}</h2>
      <dl class="paper facts">
        <Fact term={words.directory}><code>{acme.directory}</code></Fact>
        <Fact term={words.accountUrl}>{acme.account ? <code>{acme.account}</code> : words.noAccount}</Fact>
        {acme.thumbprint && <Fact term={words.thumbprint}><code>{acme.thumbprint}</code> <small class="soft">{words.thumbprintWhy}</small></Fact>}
        <Fact term={words.profile}>{acme.profile || words.noProfile}</Fact>
        <Fact term={words.challenge}>{acme.challenge === 'auto' ? words.auto : acme.challenge}</Fact>
      </dl>
    </section>
  );
}

function Hex({ text }: { text: string }) {
  return <code class="hex">{pairs(text).map((pair, i) => <span key={i}>{pair}<wbr /></span>)}</code>;
}

function Fact({ term, children }: { term: string; children: ComponentChildren }) {
  return <div><dt>{term}</dt><dd>{children}</dd></div>;
}
