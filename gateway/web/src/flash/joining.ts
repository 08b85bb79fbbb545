// Giving a device its settings: what to send next, and how it ended. It is told what arrives and when nothing does. Pure.

import { COMMAND, FAULT, KIND, part, resultOf, STATE, type Packet } from './improv';

export type Ending =
  | { is: 'joined'; url: string }
  /** The network did not let it in: password, name, distance. */
  | { is: 'refused' }
  /** It joined, and does not get through to the gateway: in the device's own words. */
  | { is: 'unreached'; why: string }
  /** The device does not take the settings, and says why. */
  | { is: 'unacceptable'; why: string }
  /** It does not answer any more. */
  | { is: 'silent' };

export interface Move {
  send?: Uint8Array;
  end?: Ending;
}

/** A part is answered at once; joining a network, asking for an address and shaking hands take their time. */
const ANSWER_MS = 3_000;
const JOIN_MS = 75_000;
const REPEATS = 3;

export class Joining {
  private offset = 0;
  private repeats = 0;
  private trying = false;
  private why = '';

  constructor(private readonly image: Uint8Array) {}

  /** How long to wait for a packet before `silent` is called. */
  get patienceMs(): number {
    return this.trying ? JOIN_MS : ANSWER_MS;
  }

  begin(): Move {
    return { send: part(this.image, this.offset) };
  }

  silent(): Move {
    if (this.trying || this.repeats >= REPEATS) return { end: { is: 'silent' } };
    this.repeats += 1;
    return this.begin();
  }

  take(packet: Packet): Move {
    const [first] = packet.data;
    if (packet.kind === KIND.state) {
      this.trying ||= first === STATE.provisioning;
      return {};
    }
    if (packet.kind === KIND.error) {
      if (first === FAULT.cannotConnect) return { end: this.why ? { is: 'unreached', why: this.why } : { is: 'refused' } };
      if (first === FAULT.unknownCommand) return { end: { is: 'unacceptable', why: '' } };
      // What is malformed is said in words right after.
      return {};
    }
    const result = resultOf(packet);
    if (!result || result.command !== COMMAND.settings) return {};
    const [text = '', why = ''] = result.texts;
    if (!/^\d+$/.test(text)) return { end: { is: 'joined', url: text } };
    if (this.trying) {
      // The error follows.
      this.why = why;
      return {};
    }
    if (why) return { end: { is: 'unacceptable', why } };
    const next = Number(text);
    if (next > this.image.length) return {};
    this.offset = next;
    this.repeats = 0;
    return this.begin();
  }
}
