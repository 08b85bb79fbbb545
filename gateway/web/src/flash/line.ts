// The serial line of a running device: packets in, packets out.

import { Parser, type Packet } from './improv';

/** Packets that wait to be looked at; a device that says more has nothing new to say. */
const WAITING_MAX = 256;

export const BAUD = 115_200;

export class Line {
  private readonly parser = new Parser();
  private readonly waiting: Packet[] = [];
  private wake: () => void = () => undefined;
  private lost: unknown = null;
  private reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  private readonly reading: Promise<void>;

  private constructor(readonly port: SerialPort) {
    this.reading = this.read();
  }

  /** Opens a port. A board that has just been started may take its time to appear again, under the same name or as new. */
  static async open(port: SerialPort, withinMs: number): Promise<Line> {
    const { usbVendorId, usbProductId } = port.getInfo();
    for (const deadline = performance.now() + withinMs;;) {
      const others = (await navigator.serial.getPorts()).filter((other) => {
        const info = other.getInfo();
        return other !== port && info.usbVendorId !== undefined && info.usbVendorId === usbVendorId && info.usbProductId === usbProductId;
      });
      let failed: unknown = null;
      for (const one of [port, ...others]) {
        try {
          await one.open({ baudRate: BAUD });
          return new Line(one);
        } catch (error) {
          failed ??= error;
        }
      }
      if (performance.now() > deadline) throw failed;
      await pause(250);
    }
  }

  async send(bytes: Uint8Array): Promise<void> {
    const writer = this.port.writable?.getWriter();
    if (!writer) throw this.lost ?? new DOMException('the device has been lost', 'NetworkError');
    try {
      await writer.write(bytes as Uint8Array<ArrayBuffer>);
    } finally {
      writer.releaseLock();
    }
  }

  /** The next packet; null when none comes in time. */
  async next(withinMs: number): Promise<Packet | null> {
    for (const deadline = performance.now() + withinMs;;) {
      const packet = this.waiting.shift();
      if (packet) return packet;
      if (this.lost) throw this.lost;
      const left = deadline - performance.now();
      if (left <= 0) return null;
      await Promise.race([new Promise<void>((wake) => { this.wake = wake; }), pause(left)]);
    }
  }

  /** Forgets what nobody looked at. */
  clear(): void {
    this.waiting.length = 0;
  }

  async close(): Promise<void> {
    await this.reader?.cancel().catch(() => undefined);
    await this.reading;
    await this.port.close().catch(() => undefined);
  }

  private async read(): Promise<void> {
    while (this.port.readable) {
      this.reader = this.port.readable.getReader();
      try {
        for (;;) {
          const { value, done } = await this.reader.read();
          if (done) return;
          this.waiting.push(...this.parser.push(value));
          this.waiting.splice(0, this.waiting.length - WAITING_MAX);
          this.wake();
        }
      } catch (error) {
        // A garbled byte ends a reader, not the line.
        if (!['BufferOverrunError', 'FramingError', 'BreakError', 'ParityError'].includes((error as Error).name)) {
          this.lost = error;
          this.wake();
          return;
        }
      } finally {
        this.reader.releaseLock();
      }
    }
    this.lost ??= new DOMException('the device has been lost', 'NetworkError');
    this.wake();
  }
}

export const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
