// Answers of GET /api/v1/certificate for states that take a CA, or months, to come about.

const S = 1000;
const MIN = 60 * S;
const H = 60 * MIN;
const D = 24 * H;

/** A time as the API gives it: milliseconds, and RFC 3339 beside them. */
const time = (name, ms) => ({ [name]: ms === null ? null : new Date(ms).toISOString(), [`${name}_ms`]: ms });

const le = { directory: 'https://acme-v02.api.letsencrypt.org/directory', ca: 'acme-v02.api.letsencrypt.org' };

function shown(now, begun, ends, more = {}) {
  return {
    origin: 'acme', names: ['air.example.org', '203.0.113.7'], issuer: 'Let\'s Encrypt YE1', subject: '', key: 'ECDSA P-256',
    serial: '03a1f0c97d52be6618d2f5ab9e0c4471a6d3', sha256: '9f2c64b1e07ad35588c2f10b47e6a9d3c5b81f7e20946ad8e35b7c01fd24a690',
    ...time('not_before', now + begun), ...time('not_after', now + ends), days_left: ends / D, publicly_trusted: true,
    chain: [
      { subject: 'YE1', issuer: 'ISRG Root YE', ...time('not_after', now + 650 * D), key: 'ECDSA P-384' },
      { subject: 'ISRG Root YE', issuer: 'ISRG Root X2', ...time('not_after', now + 2100 * D), key: 'ECDSA P-384' },
    ],
    ...more,
  };
}

const selfSigned = (now, more) => shown(now, -2 * MIN, 397 * D, {
  origin: 'self-signed', issuer: 'Casement on air', subject: 'Casement on air', names: ['air.example.org', 'localhost', '127.0.0.1'],
  publicly_trusted: false, chain: [], ...more,
});

const noTrouble = { problem: null, name: null, detail: null, text: null, fix: null };

const attempt = (now, ago, more = {}) => ({
  ...time('at', now - ago), took_ms: 3400, reason: 'renewal', challenge: 'http-01', names: ['air.example.org', '203.0.113.7'], ok: true,
  dry_run: false, ...time('issued_until', now - ago + 90 * D), ...noTrouble, ...more,
});

const connection = {
  problem: 'connection', name: 'air.example.org',
  detail: '203.0.113.7: Fetching http://air.example.org/.well-known/acme-challenge/Zl3kPq…: Timeout during connect (likely firewall problem)',
  text: 'The authority could not connect to air.example.org.',
  fix: 'Make air.example.org point to this machine and open port 80 and 443 to the internet, in the provider\'s firewall, too.',
};

const caa = {
  problem: 'caa', name: 'air.example.org',
  detail: 'While processing CAA for air.example.org: CAA record for example.org prevents issuance',
  text: 'A CAA record forbids this authority to issue for air.example.org.',
  fix: 'Add the authority to the CAA records (`casement doctor` prints the exact line), then run `casement cert renew`.',
};

function acme(now, more = {}) {
  return {
    ...le, account: 'https://acme-v02.api.letsencrypt.org/acme/acct/2184093317', thumbprint: 'pVdK4R1rBq2mJ0Ck8sXn5yT7uLwZ3aEoHfGdI6vM9c4',
    profile: null, challenge: 'auto', ari: null, ...time('next_attempt', null), next_reason: null, running: null, stopped: null,
    ...time('last_attempt', null), ...time('last_success', null), last_error: null, issued_last_7_days: 0, attempts: [], ...more,
  };
}

const answer = (now, more) => ({
  ...time('server_time', now), source: 'acme', verdict: 'trusted', wanted: ['air.example.org', '203.0.113.7'], hsts: true, may_renew: true, ...more,
});

const failed = (now, ago, trouble, more = {}) => attempt(now, ago, { ok: false, took_ms: 12_400, ...time('issued_until', null), ...trouble, ...more });

/** Each takes the time and gives the whole answer. */
export const certificates = {
  trusted: (now) => answer(now, {
    headline: 'Trusted by every browser. 71 days left. The next one is ordered in 41 days.',
    shown: shown(now, -19 * D, 71 * D),
    acme: acme(now, {
      ari: { ...time('start', now + 40 * D), ...time('end', now + 43 * D), explanation_url: null },
      ...time('next_attempt', now + 41.3 * D), next_reason: 'ari', issued_last_7_days: 2,
      attempts: [
        attempt(now, 2 * D, { reason: 'asked', dry_run: true, ...time('issued_until', null) }),
        attempt(now, 19 * D, { reason: 'ari' }), attempt(now, 79 * D, { reason: 'names', challenge: 'tls-alpn-01', took_ms: 5100 }),
        failed(now, 80 * D, connection, { reason: 'first' }),
      ],
    }),
  }),
  shortlived: (now) => answer(now, {
    headline: 'Trusted by every browser. 4 days left. The next one is ordered in 25 hours.', wanted: ['203.0.113.7', '2001:db8:5a::7'],
    shown: shown(now, -2.3 * D, 4.2 * D, { names: ['203.0.113.7', '2001:db8:5a::7'], chain: [{ subject: 'YE1', issuer: 'ISRG Root YE', ...time('not_after', now + 650 * D), key: 'ECDSA P-384' }] }),
    acme: acme(now, { profile: 'shortlived', ...time('next_attempt', now + 25 * H), next_reason: 'renewal', issued_last_7_days: 5, attempts: [attempt(now, 2.3 * D)] }),
  }),
  running: (now) => answer(now, {
    verdict: 'self_signed', headline: 'This certificate is the gateway\'s own: browsers warn. Working on it: waiting for the authority to check air.example.org.', hsts: false, wanted: ['air.example.org'],
    shown: selfSigned(now),
    acme: acme(now, {
      account: null, running: { ...time('since', now - 4 * S), step: 'waiting for the authority to check air.example.org' },
    }),
  }),
  failing: (now) => answer(now, {
    headline: 'Trusted by every browser. 11 days left. The last attempt failed: the authority could not connect to air.example.org. The next attempt is in 2 hours.', shown: shown(now, -79 * D, 11 * D),
    acme: acme(now, {
      ...time('next_attempt', now + 134 * MIN), next_reason: 'retry', last_error: { ...time('at', now - 46 * MIN), ...connection },
      attempts: [
        ...[46 * MIN, 4 * H, 9 * H, 15 * H].map((ago, i) => failed(now, ago, connection, { challenge: i % 2 ? 'tls-alpn-01' : 'http-01' })),
        failed(now, 21 * H, {
          problem: 'unreachable', name: null, detail: 'connect to acme-v02.api.letsencrypt.org:443: timed out after 10 s',
          text: 'The authority could not be reached.', fix: 'Check that this machine can open connections to the internet and resolve names; the gateway tries again.',
        }, { took_ms: 30_000, challenge: null }),
        attempt(now, 79 * D),
      ],
    }),
  }),
  stopped: (now) => answer(now, {
    verdict: 'self_signed', headline: `This certificate is the gateway's own: browsers warn. ${caa.text} ${caa.fix}`, hsts: false, wanted: ['air.example.org'],
    shown: selfSigned(now),
    acme: acme(now, {
      stopped: { ...time('since', now - 26 * H), problem: 'caa', text: caa.text, fix: caa.fix },
      last_error: { ...time('at', now - 2 * H), ...caa }, ...time('next_attempt', now + 22 * H), next_reason: 'retry',
      attempts: [failed(now, 2 * H, caa, { reason: 'asked' }), failed(now, 26 * H, caa, { reason: 'first' })],
    }),
  }),
  files: (now) => answer(now, {
    source: 'files', headline: 'Trusted by every browser. 5 days left.', acme: null, wanted: [],
    shown: shown(now, -85 * D, 5 * D, { origin: 'files' }),
  }),
  expired: (now) => answer(now, {
    source: 'files', verdict: 'expired', headline: 'The certificate ended 3 days ago. Browsers warn.', acme: null, wanted: [], hsts: true,
    shown: shown(now, -93 * D, -3 * D, { origin: 'files' }),
  }),
  wrongNames: (now) => answer(now, {
    verdict: 'wrong_names', headline: 'The certificate does not name lab.example.org: browsers warn there. The next one is ordered in 40 seconds.', wanted: ['air.example.org', 'lab.example.org'],
    shown: shown(now, -19 * D, 71 * D, { names: ['air.example.org', 'old.example.org'] }),
    acme: acme(now, { ...time('next_attempt', now + 40 * S), next_reason: 'names', issued_last_7_days: 1, attempts: [attempt(now, 19 * D)] }),
  }),
  private: (now) => answer(now, {
    verdict: 'private', headline: 'Issued by Home CA Intermediate, which browsers do not know unless they were told. 18 hours left. The next one is ordered in 10 hours.', hsts: false, wanted: ['casement.home.arpa'],
    shown: shown(now, -6 * H, 18 * H, {
      names: ['casement.home.arpa'], issuer: 'Home CA Intermediate', publicly_trusted: false,
      chain: [{ subject: 'Home CA Intermediate', issuer: 'Home CA Root', ...time('not_after', now + 3000 * D), key: 'ECDSA P-256' }],
    }),
    acme: acme(now, {
      directory: 'https://ca.home.arpa:9000/acme/acme/directory', ca: 'ca.home.arpa', account: 'https://ca.home.arpa:9000/acme/acme/account/x',
      ...time('next_attempt', now + 10 * H), next_reason: 'renewal', issued_last_7_days: 7,
      attempts: Array.from({ length: 10 }, (_, i) => attempt(now, (6 + 16 * i) * H, { names: ['casement.home.arpa'], took_ms: 400, ...time('issued_until', now + (18 - 16 * i) * H) })),
    }),
  }),
  selfSigned: (now) => answer(now, {
    source: 'self-signed', verdict: 'self_signed', headline: 'This certificate is the gateway\'s own: browsers warn.', hsts: false, may_renew: false, acme: null, wanted: [],
    shown: selfSigned(now),
  }),
};
