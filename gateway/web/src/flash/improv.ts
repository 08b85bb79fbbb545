// Packets of Improv over serial (https://www.improv-wifi.com/serial/), and our own command that carries settings. Pure.

/** What a packet is. */
export const KIND = { state: 1, error: 2, command: 3, result: 4 } as const;
/** What it asks for; `settings` is Casement's own (firmware/core/src/improv.rs). */
export const COMMAND = { wifi: 1, state: 2, info: 3, networks: 4, settings: 0xc5 } as const;
/** How far a device is. */
export const STATE = { ready: 2, provisioning: 3, provisioned: 4 } as const;
/** What it complains about. */
export const FAULT = { none: 0, malformed: 1, unknownCommand: 2, cannotConnect: 3 } as const;

export interface Packet {
  kind: number;
  data: Uint8Array;
}

export interface Network {
  ssid: string;
  /** dBm. */
  rssi: number;
  secured: boolean;
}

const MAGIC = [0x49, 0x4d, 0x50, 0x52, 0x4f, 0x56, 0x01];
const HEADER = MAGIC.length + 2;
/** Bytes of settings in one packet: 255 less command, length, total and offset. */
export const PART_BYTES = 249;

export function encode({ kind, data }: Packet): Uint8Array {
  if (data.length > 255) throw new RangeError('a packet carries 255 bytes');
  const body = [...MAGIC, kind, data.length, ...data];
  return Uint8Array.from([...body, sum(body), 0x0a]);
}

export function command(name: number, value: ArrayLike<number> = []): Uint8Array {
  return encode({ kind: KIND.command, data: Uint8Array.from([name, value.length, ...Array.from(value)]) });
}

/** The part of an image that begins at `offset`. */
export function part(image: Uint8Array, offset: number): Uint8Array {
  const low = (n: number) => [n & 0xff, n >> 8];
  return command(COMMAND.settings, [...low(image.length), ...low(offset), ...image.subarray(offset, offset + PART_BYTES)]);
}

/** Finds packets in whatever else runs over the line. */
export class Parser {
  private bytes: number[] = [];

  /** Takes what has arrived and gives the packets that it completes. */
  push(chunk: Uint8Array): Packet[] {
    const found: Packet[] = [];
    for (const byte of chunk) {
      this.bytes.push(byte);
      for (let packet = this.front(); packet; packet = this.front()) found.push(packet);
    }
    return found;
  }

  private front(): Packet | null {
    for (;;) {
      while (this.bytes.length > 0 && !MAGIC.every((byte, at) => at >= this.bytes.length || this.bytes[at] === byte)) {
        this.bytes.shift();
      }
      const length = this.bytes[HEADER - 1];
      if (length === undefined || this.bytes.length < HEADER + length + 1) return null;
      const whole = this.bytes.slice(0, HEADER + length);
      if (this.bytes[HEADER + length] === sum(whole)) {
        this.bytes.splice(0, HEADER + length + 1);
        return { kind: whole[MAGIC.length] as number, data: Uint8Array.from(whole.slice(HEADER)) };
      }
      // No packet; one may begin inside it.
      this.bytes.shift();
    }
  }
}

export interface Result {
  command: number;
  texts: string[];
}

/** What a result says; null when it is none, or cut short. */
export function resultOf({ kind, data }: Packet): Result | null {
  if (kind !== KIND.result || data.length < 2 || data.length !== 2 + (data[1] as number)) return null;
  const texts: string[] = [];
  for (let at = 2; at < data.length;) {
    const end = at + 1 + (data[at] as number);
    if (end > data.length) return null;
    texts.push(new TextDecoder().decode(data.subarray(at + 1, end)));
    at = end;
  }
  return { command: data[0] as number, texts };
}

/** A network of a scan; null for the empty result that ends one, and for names that a packet could not hold. */
export function networkOf({ texts: [ssid, rssi, secured] }: Result): Network | null {
  return ssid ? { ssid, rssi: Number(rssi) || -100, secured: secured !== 'NO' } : null;
}

/** Each name once, strongest first. */
export function strongest(networks: readonly Network[]): Network[] {
  const best = new Map<string, Network>();
  for (const network of networks) {
    const known = best.get(network.ssid);
    if (!known || known.rssi < network.rssi) best.set(network.ssid, network);
  }
  return [...best.values()].sort((a, b) => b.rssi - a.rssi);
}

const sum = (bytes: readonly number[]): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
