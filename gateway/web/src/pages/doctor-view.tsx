// The findings of `casement doctor`, the worst first. Loaded when the page is opened.

import '../styles/doctor.css';
import { useEffect, useRef, useState } from 'preact/hooks';
import { checks as fetchChecks, Refusal, type Check, type Checks } from '../api';
import { moment } from '../format';
import { zone } from '../state';
import { strings } from '../strings';

const { doctor: words } = strings;

type State = { is: 'waiting' } | { is: 'closed' } | { is: 'failed'; why: string } | { is: 'told'; checks: Checks };

/** Longer than the gateway gives itself. */
const PATIENCE_MS = 30_000;

export function DoctorView() {
  const [state, setState] = useState<State>({ is: 'waiting' });
  const current = useRef<AbortController | null>(null);
  const look = async () => {
    current.current?.abort();
    const mine = new AbortController();
    current.current = mine;
    setState({ is: 'waiting' });
    const patience = setTimeout(() => mine.abort(), PATIENCE_MS);
    try {
      const found = await fetchChecks(mine.signal);
      if (current.current === mine) setState({ is: 'told', checks: found });
    } catch (error) {
      if (current.current !== mine) return;
      const refused = error instanceof Refusal && (error.status === 401 || error.status === 403);
      setState(refused ? { is: 'closed' } : { is: 'failed', why: error instanceof Refusal ? error.detail : '' });
    } finally {
      clearTimeout(patience);
    }
  };
  useEffect(() => {
    void look();
    return () => {
      const last = current.current;
      current.current = null;
      last?.abort();
    };
  }, []);
  return (
    <main id="main" class="doctor">
      <p class="back"><a href="/">← {strings.room.back}</a></p>
      <h1 tabIndex={-1}>{words.title}</h1>
      <div role="status">
        {state.is === 'waiting' && <p class="soft">{words.waiting}</p>}
        {state.is === 'closed' && <p>{words.closed} <code>casement claim</code></p>}
        {state.is === 'failed' && <p>{words.failed} {state.why}</p>}
        {state.is === 'told' && <p class="doctor-verdict" data-testid="verdict">{words.verdict(state.checks.problems, state.checks.warnings)}</p>}
      </div>
      {state.is === 'told' && <Told checks={state.checks} />}
      {(state.is === 'told' || state.is === 'failed') && <p><button type="button" class="button" onClick={look}>{words.again}</button></p>}
    </main>
  );
}

const ORDER = ['problem', 'warning', 'ok', 'skipped'] as const;

function Told({ checks }: { checks: Checks }) {
  return (
    <>
      <p class="soft">{words.asOf(moment(checks.at_ms, zone.value, checks.at_ms))}</p>
      {ORDER.map((status) => {
        const of = checks.checks.filter((check) => check.status === status);
        if (of.length === 0) return null;
        const list = <ul class="findings">{of.map((check) => <Finding key={check.id} check={check} />)}</ul>;
        // What is wrong is in sight; the rest is there for who wants to know.
        return status === 'problem' || status === 'warning' ? (
          <section key={status}><h2>{words.headings[status]}</h2>{list}</section>
        ) : (
          <details key={status}><summary>{words.headings[status]} ({of.length})</summary>{list}</details>
        );
      })}
    </>
  );
}

const MARKS = { problem: '✗', warning: '!', ok: '✓', skipped: '–' };

function Finding({ check }: { check: Check }) {
  return (
    <li class="paper finding" data-status={check.status} data-check={check.id}>
      <h3><span aria-hidden="true" class="finding-mark">{MARKS[check.status]}</span> {check.title}</h3>
      <p>{check.text}</p>
      {check.fix && <p class="finding-fix"><strong>{words.fix}</strong> {check.fix}</p>}
    </li>
  );
}
