// How far the set-up of a device is, and what can come next. Pure.

import type { Network } from './improv';

export interface Image {
  version: string;
  bytes: number;
  url: string;
}

export interface Board {
  board: string;
  chip: string;
  flash_mib: number;
  image: Image | null;
}

/** What is plugged in. */
export interface Plugged {
  /** As esptool calls it: esp32c3. */
  chip: string;
  /** Null when its flash does not say. */
  flashMib: number | null;
}

export type TroubleName =
  | 'cancelled' | 'busy' | 'notAllowed' | 'silent' | 'unplugged' | 'unknownBoard' | 'noImage' | 'damaged' | 'gateway' | 'refused'
  | 'noImprov' | 'wifi' | 'unreached' | 'unacceptable' | 'notReached' | 'failed';

export interface Trouble {
  name: TroubleName;
  /** What the gateway or the device wrote, or what nobody foresaw. */
  detail?: string;
}

export type Phase =
  /** Asks for the room. */
  | 'room'
  /** The browser shows its ports; then the chip is asked what it is. */
  | 'connecting'
  /** Several boards look alike from outside. */
  | 'choosing'
  | 'installing'
  /** It starts, and is asked which networks it hears. */
  | 'starting'
  /** Asks for the Wi-Fi. */
  | 'wifi'
  | 'joining'
  /** It is in the Wi-Fi; its first value is on the way. */
  | 'waiting'
  | 'live';

export interface Setup {
  phase: Phase;
  room: string;
  /** The firmware is there already. */
  settingsOnly: boolean;
  board: Board | null;
  candidates: readonly Board[];
  /** Of the firmware, 0 to 1. */
  written: number;
  networks: readonly Network[];
  /** The firmware does not talk over the cable: it takes its settings from flash, and cannot say what it hears. */
  blind: boolean;
  device: string | null;
  trouble: Trouble | null;
}

export const START: Setup = {
  phase: 'room', room: '', settingsOnly: false, board: null, candidates: [], written: 0, networks: [], blind: false, device: null, trouble: null,
};

export type Event =
  | { is: 'begin'; room: string; settingsOnly: boolean }
  | { is: 'plugged'; candidates: readonly Board[] }
  | { is: 'install'; board: Board }
  | { is: 'written'; share: number }
  | { is: 'installed' }
  | { is: 'heard'; networks: readonly Network[]; blind?: boolean }
  | { is: 'join' }
  | { is: 'added'; device: string }
  | { is: 'joined' }
  | { is: 'value' }
  | { is: 'trouble'; trouble: Trouble }
  | { is: 'another' };

/** What each event may follow on. */
const AFTER: Record<Event['is'], readonly Phase[]> = {
  begin: ['room'],
  plugged: ['connecting'],
  install: ['connecting', 'choosing'],
  written: ['installing'],
  installed: ['connecting', 'installing'],
  heard: ['starting', 'waiting'],
  join: ['wifi'],
  added: ['joining'],
  joined: ['joining'],
  value: ['waiting'],
  trouble: ['connecting', 'choosing', 'installing', 'starting', 'wifi', 'joining', 'waiting'],
  another: ['live', 'waiting'],
};

/** What comes of an event. One that does not fit, because it comes late, changes nothing. */
export function after(setup: Setup, event: Event): Setup {
  if (!AFTER[event.is].includes(setup.phase)) return setup;
  switch (event.is) {
    case 'begin': return { ...START, phase: 'connecting', room: event.room, settingsOnly: event.settingsOnly };
    case 'plugged': return { ...setup, phase: 'choosing', candidates: event.candidates };
    case 'install': return { ...setup, phase: 'installing', board: event.board, written: 0, trouble: null };
    case 'written': return { ...setup, written: Math.max(setup.written, Math.min(1, event.share)) };
    case 'installed': return { ...setup, phase: 'starting', written: 1, trouble: null };
    case 'heard': return { ...setup, phase: 'wifi', networks: event.networks, blind: event.blind ?? false, trouble: null };
    case 'join': return { ...setup, phase: 'joining', trouble: null };
    case 'added': return { ...setup, device: event.device };
    case 'joined': return { ...setup, phase: 'waiting', trouble: null };
    case 'value': return { ...setup, phase: 'live', trouble: null };
    case 'another': return START;
    case 'trouble': return { ...setup, phase: backTo(setup.phase, event.trouble), trouble: event.trouble };
  }
}

/** Where one tries again: never further back than needed. */
function backTo(phase: Phase, { name }: Trouble): Phase {
  // Nobody is at the other end any more.
  if (name === 'unplugged' || name === 'noImprov') return 'room';
  switch (phase) {
    // The device listens still: another password needs no new start.
    case 'wifi':
    case 'joining': return 'wifi';
    // It may come yet.
    case 'waiting': return 'waiting';
    default: return 'room';
  }
}

/**
 * The boards that this can be. Chip and size of the flash name one; when the flash is none of theirs, it is somebody
 * else's board with the same chip, and its owner has to say which comes closest.
 */
export function boardsFor({ chip, flashMib }: Plugged, boards: readonly Board[]): Board[] {
  const same = boards.filter((board) => board.chip === chip);
  const exact = same.filter((board) => board.flash_mib === flashMib);
  return exact.length > 0 ? exact : same;
}

/** What went wrong, from what a browser, esptool or the gateway throws. */
export function troubleOf(error: unknown, phase: Phase): Trouble {
  const { name = '', message = '', detail = '', status } = Object(error) as { name?: string; message?: string; detail?: string; status?: number };
  if (status !== undefined) return detail ? { name: 'refused', detail } : { name: 'gateway' };
  if (name === 'NotFoundError') return { name: 'cancelled' };
  if (name === 'SecurityError') return { name: 'notAllowed' };
  if (name === 'InvalidStateError') return { name: 'busy' };
  if (/lost|disconnected|break/i.test(message) && name !== 'TypeError') return { name: 'unplugged' };
  if (name === 'NetworkError') return { name: /open/i.test(message) ? 'busy' : 'unplugged' };
  if (name === 'TypeError' && /fetch|network|load/i.test(message)) return { name: 'gateway' };
  if (/MD5/.test(message)) return { name: 'damaged' };
  if (/Unexpected(Chip)|chip (id|magic)|unknown chip/i.test(`${name} ${message}`)) return { name: 'unknownBoard' };
  if (phase === 'connecting' || /no serial data|stream stopped|failed to connect|invalid head/i.test(message)) return { name: 'silent' };
  return message ? { name: 'failed', detail: message } : { name: 'failed' };
}
