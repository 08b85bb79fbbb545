// From the cable to the first value: room, board, Wi-Fi. The window beside it opens as the set-up goes on.

import '../styles/flash.css';
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { flash as fetchFlash, Refusal, signIn, type Flash } from '../api';
import { Prose } from '../certificate/prose';
import { Commands } from '../flash/commands';
import { another, arrived, begin, choose, join, letGo, rejoin, setup } from '../flash/session';
import { faultOf, type WifiFault } from '../flash/settings';
import { type Phase, type Trouble } from '../flash/setup';
import { words } from '../flash/strings';
import { locale } from '../locale';
import { Pane } from '../parts/pane';
import { roomPath } from '../rooms';
import { rooms, zone } from '../state';
import { strings } from '../strings';

type Known = { is: 'loading' } | { is: 'closed' } | { is: 'failed' } | { is: 'known'; flash: Flash };

/** Only pages over HTTPS are given it, and not in every browser. */
const hasSerial = 'serial' in navigator;
const LOCAL = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;

export function FlashView() {
  const [known, setKnown] = useState<Known>({ is: 'loading' });
  const load = () => {
    fetchFlash().then(
      (flash) => setKnown({ is: 'known', flash }),
      (error: unknown) => setKnown({ is: error instanceof Refusal && (error.status === 401 || error.status === 403) ? 'closed' : 'failed' }),
    );
  };
  useEffect(load, []);
  useEffect(() => {
    const leave = () => void letGo();
    addEventListener('pagehide', leave);
    return () => {
      removeEventListener('pagehide', leave);
      leave();
    };
  }, []);
  return (
    <main id="main" class="flash" data-phase={setup.value.phase}>
      <p class="back"><a href="/">← {strings.room.back}</a></p>
      <h1 tabIndex={-1}>{strings.flash.title}</h1>
      {known.is === 'loading' && <p role="status">{strings.loading}</p>}
      {known.is === 'failed' && <p role="status">{strings.failed} <button type="button" class="quiet" onClick={load}>{strings.retry}</button></p>}
      {known.is === 'closed' && (
        <div class="paper closed">
          <p>{words.closed}</p>
          <p class="soft"><Prose text={words.closedHow} /></p>
          <p><button type="button" class="button" onClick={signIn}>{strings.signIn}</button></p>
        </div>
      )}
      {known.is === 'known' && <Flasher flash={known.flash} />}
    </main>
  );
}

function Flasher({ flash }: { flash: Flash }) {
  const { phase } = setup.value;
  return (
    <>
      <p class="flash-lead">{words.lead}</p>
      <div class="flash-columns">
        <section class="paper flash-card" aria-label={strings.flash.title}>
          {hasSerial && <Steps phase={phase} />}
          {hasSerial ? <Step flash={flash} /> : <NoSerial />}
        </section>
        <Window />
      </div>
      <Commands flash={flash} open={!hasSerial} />
    </>
  );
}

const STEPS = ['room', 'board', 'wifi', 'live'] as const;
const STEP_OF: Record<Phase, (typeof STEPS)[number]> = {
  room: 'room', connecting: 'board', choosing: 'board', installing: 'board', starting: 'wifi', wifi: 'wifi', joining: 'wifi', waiting: 'live', live: 'live',
};

function Steps({ phase }: { phase: Phase }) {
  const at = STEPS.indexOf(STEP_OF[phase]);
  return (
    <ol class="flash-steps" role="list">
      {STEPS.map((step, index) => {
        const state = index < at || phase === 'live' ? 'done' : index === at ? 'now' : 'next';
        return (
          <li key={step} data-state={state} aria-current={state === 'now' ? 'step' : undefined}>
            <span class="flash-number" aria-hidden="true">{state === 'done' ? '✓' : index + 1}</span>
            <span>{words.steps[step]}<span class="visually-hidden">, {words.stepState[state]}</span></span>
          </li>
        );
      })}
    </ol>
  );
}

function Step({ flash }: { flash: Flash }) {
  const { phase, board, written, trouble, candidates, blind } = setup.value;
  switch (phase) {
    case 'room': return <RoomStep flash={flash} />;
    case 'connecting': return <Doing title={words.connecting}>{words.connectingThen}</Doing>;
    case 'choosing': return (
      <>
        <h2 tabIndex={-1} ref={focused}>{words.choose}</h2>
        <p class="soft">{words.chooseText(candidates[0]?.chip.toUpperCase() ?? '')}</p>
        <p class="flash-choices">
          {candidates.map((one) => <button key={one.board} type="button" class="button" onClick={() => void choose(one)}>{nameOf(one.board)}</button>)}
        </p>
      </>
    );
    case 'installing': return (
      <Doing title={words.installing(nameOf(board?.board ?? ''))} share={written}>
        {board?.image && words.version(board.image.version)} · {words.keep}
      </Doing>
    );
    case 'starting': return <Doing title={words.starting}>{words.keep}</Doing>;
    case 'wifi':
    case 'joining': return <WifiStep joining={phase === 'joining'} />;
    case 'waiting': return (
      <>
        <TroubleBox trouble={trouble} />
        <Doing title={blind ? words.waitingBlind : words.waiting}>{words.waitingText}</Doing>
        {trouble && (
          <p class="flash-choices">
            {blind && <button type="button" class="button" onClick={rejoin}>{words.rejoin}</button>}
            <button type="button" class="quiet" onClick={() => void another()}>{words.another}</button>
          </p>
        )}
      </>
    );
    case 'live': return <Live />;
  }
}

const nameOf = (board: string): string => words.boards[board] ?? board;
/** What is being typed as the room: the window says it at once. */
const draft = signal('');
const focused = (heading: HTMLElement | null): void => heading?.focus({ preventScroll: true });

/** Something goes on by itself. */
function Doing({ title, share, children }: { title: string; share?: number; children: ComponentChildren }) {
  return (
    <div class="flash-doing">
      <h2 tabIndex={-1} ref={focused}>{title}</h2>
      {share === undefined
        ? <span class="flash-breath" aria-hidden="true"><i /><i /><i /></span>
        : (
          <p class="flash-progress">
            <progress max={1} value={share} aria-label={title} data-testid="progress" />
            <span class="flash-percent">{words.percent(Math.round(share * 100))}</span>
          </p>
        )}
      <p class="soft">{children}</p>
    </div>
  );
}

function TroubleBox({ trouble }: { trouble: Trouble | null }) {
  const [what, help] = trouble ? words.trouble[trouble.name] : ['', ''];
  // Always there, so that a screen reader hears what comes into it.
  return (
    <div role="alert">
      {trouble && (
        <div class="flash-trouble" data-trouble={trouble.name}>
          <p class="flash-trouble-what">{what}</p>
          {trouble.detail && !['unknownBoard', 'noImage'].includes(trouble.name) && <p><Prose text={trouble.detail} /></p>}
          {help && <p>{help}</p>}
        </div>
      )}
    </div>
  );
}

function RoomStep({ flash }: { flash: Flash }) {
  const { trouble, room: before, written } = setup.value;
  const [room, setRoom] = useState(before);
  useEffect(() => { draft.value = room; }, [room]);
  const { hostname } = location;
  const { names, problem, until_ms } = flash.gateway;
  const local = LOCAL.test(hostname);
  const named = names.length === 0 || names.some((name) => name === hostname || (name.startsWith('*.') && hostname.endsWith(name.slice(1))));
  const images = flash.boards.some((board) => board.image);
  // What was written once need not be written again.
  const installed = written === 1;
  const go = (settingsOnly: boolean) => {
    const name = room.trim();
    if (name) void begin(name, settingsOnly, flash);
  };
  return (
    <>
      <TroubleBox trouble={trouble} />
      {problem ? <Warning><Prose text={problem} /></Warning>
        : local ? <Warning>{words.unreachable(hostname)}</Warning>
          : !named && <Warning>{words.wrongName(hostname, names.join(', '))}</Warning>}
      <form class="flash-form" onSubmit={(event) => { event.preventDefault(); go(installed || !images); }}>
        <label for="room"><span class="flash-question">{words.room}</span></label>
        <input id="room" name="room" value={room} maxLength={64} required autocomplete="off" aria-describedby="room-hint" onInput={(event) => setRoom(event.currentTarget.value)} />
        <p id="room-hint" class="soft">{words.roomHint}</p>
        {images ? (
          <>
            <p><button type="submit" class="button flash-go" disabled={problem !== null}>{trouble ? words.again : words.begin}</button></p>
            <p class="soft">{words.beginHint}</p>
            <p><button type="button" class="quiet" disabled={problem !== null} onClick={() => go(true)}>{words.has}</button></p>
          </>
        ) : (
          <>
            <p><b>{words.noImages}</b> <Prose text={words.noImagesText} /></p>
            <p><button type="submit" class="button flash-go" disabled={problem !== null}>{words.has}</button></p>
          </>
        )}
      </form>
      {until_ms !== null && <p class="soft flash-note">{words.own(date(until_ms))}</p>}
    </>
  );
}

const date = (ms: number): string => new Date(ms).toLocaleDateString(locale, { day: 'numeric', month: 'long', year: 'numeric', timeZone: zone.value });

const Warning = ({ children }: { children: ComponentChildren }) => <p class="flash-warning"><span class="shape" aria-hidden="true">▲</span> <span>{children}</span></p>;

/** Of the last device, for the next one. Never kept beyond this page. */
const remembered = { ssid: '', password: '' };
const OTHER = '\u0000';

function WifiStep({ joining }: { joining: boolean }) {
  const { networks, trouble, blind } = setup.value;
  const heard = networks.some(({ ssid }) => ssid === remembered.ssid) ? remembered.ssid : networks[0]?.ssid;
  const [chosen, setChosen] = useState(remembered.ssid || (heard ?? OTHER));
  const [name, setName] = useState('');
  const [password, setPassword] = useState(remembered.password);
  const [seen, setSeen] = useState(false);
  const [fault, setFault] = useState<WifiFault | null>(null);
  const field = useRef<HTMLInputElement>(null);
  // After a wrong password it is the password that is typed again.
  useLayoutEffect(() => {
    if (!joining) field.current?.focus({ preventScroll: true });
  }, [joining]);
  const ssid = chosen === OTHER ? name : chosen;
  const secured = networks.find((network) => network.ssid === chosen)?.secured ?? true;
  const submit = () => {
    const secret = secured ? password : '';
    const wrong = faultOf(ssid, secret) ?? (secured && chosen !== OTHER && secret === '' ? 'password' : null);
    setFault(wrong);
    if (wrong) return;
    Object.assign(remembered, { ssid, password: secret });
    void join(ssid, secret);
  };
  if (joining) return <Doing title={words.joining(ssid)}>{words.joiningText}</Doing>;
  const known = networks.some((network) => network.ssid === chosen) || chosen === OTHER;
  return (
    <>
      <TroubleBox trouble={trouble} />
      <form class="flash-form" onSubmit={(event) => { event.preventDefault(); submit(); }}>
        <h2 class="flash-question">{words.wifi}</h2>
        {blind && <p class="soft">{words.blind}</p>}
        {networks.length > 0 && (
          <>
            <label for="network">{words.network}</label>
            <select id="network" value={chosen} onChange={(event) => setChosen(event.currentTarget.value)}>
              {!known && <option value={chosen}>{chosen}</option>}
              {networks.map((network) => (
                <option key={network.ssid} value={network.ssid}>{network.ssid} ({words.signal(network.rssi)}{network.secured ? '' : `, ${words.open}`})</option>
              ))}
              <option value={OTHER}>{words.other}</option>
            </select>
          </>
        )}
        {chosen === OTHER && (
          <>
            <label for="ssid">{words.networkName}</label>
            <input id="ssid" name="ssid" value={name} autocomplete="off" autocapitalize="none" spellcheck={false} required onInput={(event) => setName(event.currentTarget.value)} aria-invalid={fault === 'ssid'} />
          </>
        )}
        {secured && (
          <>
            <label for="wifi-password">{words.password}</label>
            <span class="flash-password">
              <input
                id="wifi-password" ref={field} type={(seen ? 'text' : 'password') as 'password'} value={password} autocomplete="off" autocapitalize="none" spellcheck={false}
                aria-describedby="password-hint" aria-invalid={fault === 'password'} onInput={(event) => setPassword(event.currentTarget.value)}
              />
              <button type="button" class="quiet" aria-pressed={seen} onClick={() => setSeen(!seen)}>{words.show}</button>
            </span>
            <p id="password-hint" class="soft">{words.passwordHint}</p>
          </>
        )}
        <p role="alert" class="flash-fault">{fault && (fault === 'ssid' ? words.nameBad : words.passwordBad)}</p>
        <p><button type="submit" class="button flash-go">{words.join}</button></p>
      </form>
    </>
  );
}

function Live() {
  const { room, device } = setup.value;
  return (
    <>
      <h2 tabIndex={-1} ref={focused} data-testid="live">{words.live(room)}</h2>
      <p>{words.liveText}</p>
      <p class="soft">{words.device} <code>{device}</code></p>
      <p class="flash-choices">
        <a class="button" href={roomPath(room)}>{words.toRoom}</a>
        <button type="button" class="quiet" onClick={() => void another()}>{words.another}</button>
      </p>
    </>
  );
}

/** How far open the window stands at the beginning of each phase. */
const OPEN: Record<Phase, number> = { room: 0, connecting: 0.04, choosing: 0.08, installing: 0.1, starting: 0.62, wifi: 0.68, joining: 0.76, waiting: 0.9, live: 1 };

/** The room's pane: shuttered, and opening; in the end it is the one that stands on the home page. */
function Window() {
  const { phase, room, device, written } = setup.value;
  const found = rooms.value.find((one) => one.devices.some(({ id }) => id === device));
  const heard = found?.devices.some(({ id, last }) => id === device && last !== null) ?? false;
  useEffect(() => {
    if (phase === 'waiting' && heard) arrived();
  }, [phase, heard]);
  const open = phase === 'installing' ? 0.1 + 0.5 * written : OPEN[phase];
  return (
    <ul class="window flash-window" data-count="1" role="list">
      {found && heard && phase === 'live' ? <Pane room={found} /> : (
        <li class="pane" data-standing="none" style={{ '--open': String(open) }}>
          <div class="sash">
            <span class="air" aria-hidden="true" />
            <span class="flash-shutter" aria-hidden="true" />
            <p class="flash-pane-name">{(phase === 'room' ? draft.value.trim() : room) || words.pane.empty}</p>
            <p class="flash-pane-word">{phase === 'room' ? words.pane.room : phase === 'waiting' ? words.pane.waiting : phase === 'wifi' ? words.pane.wifi : words.pane.busy}</p>
          </div>
        </li>
      )}
    </ul>
  );
}

function NoSerial() {
  return (
    <>
      <h2 class="flash-question">{words.noSerial}</h2>
      <p>{isSecureContext ? words.noSerialText : words.notSecure}</p>
    </>
  );
}
