// Keeps the page's certificate current: often while something happens, seldom otherwise, never unseen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { certificate as fetchCertificate, Refusal, renewCertificate } from '../api';
import { latest } from '../pages/certificate';
import { serverTime, site } from '../state';
import { strings } from '../strings';
import { pause, refusalText, type Asked } from './facts';

/** A gateway that has not answered by then is not going to. */
const PATIENCE_MS = 15_000;

export interface Watched {
  /** The gateway did not answer when it was asked last. */
  failed: boolean;
  /** Only for people who have signed in, and this visitor has not. */
  closed: boolean;
  look(): void;
}

export function useCertificate(asked: Asked | null): Watched {
  const [failed, setFailed] = useState(false);
  const [closed, setClosed] = useState(false);
  const askedAt = useRef(0);
  askedAt.current = asked?.at ?? 0;
  const look = useRef<() => void>(() => undefined);

  useEffect(() => {
    let timer: number | undefined;
    let lookedAt = 0;
    let shut = false;
    let current: AbortController | null = null;

    const plan = () => {
      clearTimeout(timer);
      if (document.hidden || shut) return;
      const due = lookedAt + pause(latest.value, serverTime(), serverTime() - askedAt.current) - Date.now();
      timer = window.setTimeout(run, Math.max(0, due));
    };
    const run = async () => {
      clearTimeout(timer);
      current?.abort();
      const mine = new AbortController();
      current = mine;
      const patience = setTimeout(() => mine.abort(), PATIENCE_MS);
      try {
        const answer = await fetchCertificate(site.value.signed_in, mine.signal);
        if (current !== mine) return;
        if (answer) latest.value = answer;
        shut = answer === null;
        setClosed(shut);
        setFailed(false);
      } catch {
        if (current !== mine) return;
        setFailed(true);
      } finally {
        clearTimeout(patience);
      }
      lookedAt = Date.now();
      plan();
    };
    look.current = () => void run();
    document.addEventListener('visibilitychange', plan);
    if (document.hidden) plan();
    else void run();
    return () => {
      clearTimeout(timer);
      current?.abort();
      current = null;
      document.removeEventListener('visibilitychange', plan);
    };
  }, []);

  return { failed, closed, look: () => look.current() };
}

/** Asks for a certificate; answers with what to tell the person when the gateway refuses. */
export async function ask(dryRun: boolean): Promise<string | null> {
  try {
    await renewCertificate(dryRun);
    return null;
  } catch (error) {
    return error instanceof Refusal ? refusalText(error.status, error.detail) : strings.failed;
  }
}
