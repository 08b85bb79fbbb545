// A board on the end of a serial cable, as far as a browser can tell: Espressif's bootloader in ROM and the flasher that
// esptool-js puts into RAM, played here; then Casement's own set-up, which is the core's real Session in a process of its
// own, or the whole simulated device (device.js). In the page, `navigator.serial` is replaced by a port that leads here.
// No chip has taken part in this.
//
// The protocol: https://docs.espressif.com/projects/esptool/en/latest/esp32c3/advanced-topics/serial-protocol.html

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inflateSync } from 'node:zlib';

const root = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../../..');

/** `$CASEMENT_IMPROV`, or what `cargo build -p casement-core --example improv` leaves. */
function standIn() {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const places = [process.env.CASEMENT_IMPROV, join(target, 'release/examples/improv'), join(target, 'debug/examples/improv')];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error(`no stand-in for a board in ${target}; build it with: cargo build -p casement-core --example improv`);
  return found;
}

const END = 0xc0;
const ESC = 0xdb;
const CHIPS = { esp32c3: 5, esp32c6: 13, esp32s3: 9 };
const SIZES = { 4: 0x16, 8: 0x17, 16: 0x18 };

export class Board {
  /**
   * `password` is what its Wi-Fi takes; `mute` never answers as a bootloader; `deaf` is firmware that does not listen to the line; `busy` is a port that somebody else holds;
   * `nothing` is a person who picks no port; `usb` are the ids of the cable.
   */
  constructor(test, { chip = 'esp32c3', flashMib = 4, password = 'correct horse', usb = { usbVendorId: 0x10c4, usbProductId: 0xea60 }, ...more } = {}) {
    Object.assign(this, { chip, flashMib, password, usb, mode: 'app', stub: false, pinned: { dtr: false, rts: false }, slip: null, opened: [], shown: 0 }, more);
    this.flash = new Map();
    this.blocks = 0;
    this.told = [];
    this.complaints = [];
    test.after(() => this.app?.stop());
  }

  /** Puts the cable into a tab, before its page is loaded. */
  async plugInto(tab) {
    this.tab = tab;
    await tab.exposeFunction('casementBoard', (what, value) => this[`on_${what}`](value));
    await tab.addInitScript(port, this.usb);
  }

  /** The cable comes off. */
  async unplug() {
    this.off = true;
    await this.tab.evaluate(() => window.casementUnplug());
  }

  /** What it was told when it was let into the Wi-Fi. */
  async settings(within = 20_000) {
    for (const deadline = Date.now() + within; Date.now() < deadline;) {
      if (this.told.length > 0) return this.told.at(-1);
      await new Promise((later) => setTimeout(later, 20));
    }
    throw new Error(`the board was told nothing within ${within} ms`);
  }

  // ------------------------------------------------------------------------------------------- what the page does to it

  on_request() {
    this.shown += 1;
    return !this.nothing;
  }

  on_open(baud) {
    if (this.busy) return 'Failed to open serial port.';
    this.opened.push(baud);
    return null;
  }

  on_signals({ dataTerminalReady: dtr = this.pinned.dtr, requestToSend: rts = this.pinned.rts }) {
    const started = this.pinned.rts && !rts;
    this.pinned = { dtr, rts };
    if (rts) this.app?.stop();
    if (!started) return;
    // Two transistors on every such board: DTR alone holds the boot pin, RTS alone the reset.
    this.mode = dtr ? 'rom' : 'app';
    Object.assign(this, { stub: false, slip: null, app: null });
    if (this.mode === 'app') this.run();
  }

  on_write(base64) {
    const bytes = Buffer.from(base64, 'base64');
    if (this.off) return;
    if (this.mode === 'rom') for (const byte of bytes) this.take(byte);
    else {
      if (!this.app) this.run();
      this.app.write(bytes);
    }
  }

  // --------------------------------------------------------------------------------------------------------- the firmware

  run() {
    this.app = this.start();
    this.say(Buffer.from('ESP-ROM:esp32c3-api1-20210207\r\nrst:0x15,boot:0xd (SPI_FAST_FLASH_BOOT)\r\ncasement 0.1.0\r\n'));
  }

  /** Starts what runs on the board; gives how to write to it and how to stop it. */
  start() {
    if (this.deaf) return { write: () => undefined, stop: () => undefined };
    const app = spawn(standIn(), [this.password], { stdio: ['pipe', 'pipe', 'pipe'] });
    app.stdin.on('error', () => undefined);
    let told = '';
    app.stdout.on('data', (bytes) => this.say(bytes));
    app.stderr.on('data', (text) => {
      told += text;
      for (let end = told.indexOf('\n\n'); end >= 0; end = told.indexOf('\n\n')) {
        this.told.push(Object.fromEntries(told.slice(0, end).split('\n').map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)])));
        told = told.slice(end + 2);
      }
    });
    return { write: (bytes) => app.stdin.write(bytes), stop: () => app.kill('SIGKILL') };
  }

  /** What came to a place in flash, whole. */
  written(at, bytes) {
    this.flash.set(at, bytes);
  }

  say(bytes) {
    // A page that is gone hears nothing.
    void this.tab.evaluate((base64) => window.casementSays(base64), Buffer.from(bytes).toString('base64')).catch(() => undefined);
  }

  // ------------------------------------------------------------------------------------------------------- the bootloader

  take(byte) {
    if (byte === END) {
      if (this.slip?.length > 0) this.command(Buffer.from(this.slip));
      this.slip = this.slip?.length > 0 ? null : [];
    } else if (this.slip && this.escaped) {
      this.escaped = false;
      this.slip.push(byte === 0xdc ? END : ESC);
    } else if (byte === ESC) this.escaped = true;
    else this.slip?.push(byte);
  }

  packet(bytes) {
    this.say([END, ...[...bytes].flatMap((byte) => (byte === END ? [ESC, 0xdc] : byte === ESC ? [ESC, 0xdd] : [byte])), END]);
  }

  answer(op, { value = 0, data = [], status = 0 } = {}) {
    const body = [...data, status, 0, ...(this.stub ? [] : [0, 0])];
    const head = Buffer.alloc(8);
    head.writeUInt8(1, 0);
    head.writeUInt8(op, 1);
    head.writeUInt16LE(body.length, 2);
    head.writeUInt32LE(value >>> 0, 4);
    this.packet([...head, ...body]);
  }

  command(packet) {
    if (this.mute || packet[0] !== 0) return;
    const [op, data] = [packet[1], packet.subarray(8)];
    const word = (at) => data.readUInt32LE(4 * at);
    if (packet.readUInt16LE(2) !== data.length) this.complaints.push(`command ${op} says ${packet.readUInt16LE(2)} bytes, has ${data.length}`);
    switch (op) {
      case 0x08: // SYNC is answered eight times.
        for (let i = 0; i < 8; i++) this.answer(op, { value: 0x20120707 });
        break;
      case 0x14: { // GET_SECURITY_INFO
        const info = Buffer.alloc(20);
        info.writeUInt32LE(CHIPS[this.chip] ?? 999, 12);
        this.answer(op, { data: info });
        break;
      }
      case 0x0a: // READ_REG: of all registers only the answer of the flash matters, its id.
        this.answer(op, { value: (word(0) & 0xff) === 0x58 ? 0x4020 | (SIZES[this.flashMib] << 16) : 0 });
        break;
      case 0x06: // MEM_END starts what was put into RAM.
        this.answer(op);
        this.stub = true;
        this.packet(Buffer.from('OHAI'));
        break;
      case 0x10: // FLASH_DEFL_BEGIN
        this.writing = { size: word(0), blocks: word(1), at: word(3), parts: [] };
        this.answer(op);
        break;
      case 0x11: { // FLASH_DEFL_DATA
        const part = data.subarray(16);
        const check = part.reduce((sum, byte) => sum ^ byte, 0xef);
        if (check !== packet.readUInt32LE(4) || part.length !== word(0) || word(1) !== this.writing.parts.length) this.complaints.push(`block ${word(1)} is not what it says`);
        this.writing.parts.push(part);
        this.blocks += 1;
        void Promise.resolve(this.beforeBlock?.(this.blocks, this.writing.blocks)).then(() => !this.off && this.answer(op));
        break;
      }
      case 0x12: // FLASH_DEFL_END
        this.written(this.writing.at, inflateSync(Buffer.concat(this.writing.parts)));
        this.answer(op);
        break;
      case 0x13: { // SPI_FLASH_MD5
        const there = this.flash.get(word(0))?.subarray(0, word(1)) ?? Buffer.alloc(0);
        const sum = createHash('md5').update(this.worn ? Buffer.from('worn') : there).digest();
        this.answer(op, { data: sum });
        break;
      }
      case 0x05: case 0x07: case 0x09: case 0x0d: case 0x0f: // RAM, registers, pins, rate: nothing to show for.
        this.answer(op);
        break;
      default: // What a ROM says to a command that it does not know.
        this.answer(op, { status: 1, data: [1, 5] });
    }
  }
}

/** Runs in the page: a `navigator.serial` with one port. */
function port(info) {
  const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  let source = null;
  let readable = null;
  let writable = null;
  let isOpen = false;
  const line = () => new ReadableStream({
    start(controller) { source = controller; },
    cancel() { source = null; readable = null; },
  });
  class Port extends EventTarget {
    getInfo() { return info; }
    get readable() { return isOpen ? (readable ??= line()) : null; }
    get writable() {
      return isOpen ? (writable ??= new WritableStream({ write: (chunk) => window.casementBoard('write', base64(chunk)) })) : null;
    }
    async open({ baudRate }) {
      if (isOpen) throw new DOMException('The port is already open.', 'InvalidStateError');
      const failed = await window.casementBoard('open', baudRate);
      if (failed) throw new DOMException(failed, 'NetworkError');
      isOpen = true;
    }
    async close() {
      if (readable?.locked || writable?.locked) throw new TypeError('Cannot cancel a locked stream');
      isOpen = false;
      source = readable = writable = null;
    }
    async setSignals(signals) { await window.casementBoard('signals', signals); }
  }
  const only = new Port();
  const serial = new EventTarget();
  serial.getPorts = async () => [only];
  serial.requestPort = async () => {
    if (!navigator.userActivation.isActive) throw new DOMException('Must be handling a user gesture to show a permission request.', 'SecurityError');
    if (!(await window.casementBoard('request'))) throw new DOMException('No port selected by the user.', 'NotFoundError');
    return only;
  };
  Object.defineProperty(navigator, 'serial', { value: serial });
  window.casementSays = (text) => source?.enqueue(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
  window.casementUnplug = () => {
    source?.error(new DOMException('The device has been lost.', 'NetworkError'));
    isOpen = false;
    source = readable = writable = null;
    // As browsers do: the event begins at the port and is seen at navigator.serial.
    const event = new Event('disconnect');
    Object.defineProperty(event, 'target', { value: only });
    serial.dispatchEvent(event);
  };
}
