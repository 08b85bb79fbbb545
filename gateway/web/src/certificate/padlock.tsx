// The state of the certificate as a shape: what the lock looks like differs without colour.

import type { Verdict } from '../api';

const CLOSED = 'M20 30V19a13 13 0 0 1 26 0v11';
const OPEN = 'M46 30V17a13 13 0 0 1 26 0v8';

const SHACKLE: Record<Verdict, string> = {
  trusted: CLOSED, private: CLOSED, self_signed: CLOSED, expired: OPEN, wrong_names: OPEN,
};
/** Check mark, house, signature, clock, unequal. */
const SIGN: Record<Verdict, string> = {
  trusted: 'M23 47l7 7 13-14',
  private: 'M22 46l11-9 11 9M26 44v12h14V44',
  self_signed: 'M19 52c3-9 8-14 9-9s-5 12-2 12 5-9 8-9-2 7 1 7 4-6 6-5 0 5 6 2',
  expired: 'M33 36a11 11 0 1 0 .01 0M33 41v6.500l4.500 3',
  wrong_names: 'M22 43h22M22 52h22M40 36L26 59',
};

export function Padlock({ verdict }: { verdict: Verdict }) {
  const open = SHACKLE[verdict] === OPEN;
  return (
    <svg class="padlock" data-verdict={verdict} viewBox={open ? '8 0 70 70' : '8 0 50 70'} aria-hidden="true">
      <path class="padlock-shackle" d={SHACKLE[verdict]} />
      <rect class="padlock-body" x="11" y="30" width="44" height="36" rx="4" />
      <path class="padlock-sign" d={SIGN[verdict]} />
    </svg>
  );
}
