// The whole simulated device on the end of the cable: what the page flashes goes into its flash, and every reset starts
// `casement-sim` from it: the real core, Improv, TLS and sensor's driver. The bootloader stays board.js's.

import { spawn } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ReadStream } from 'node:tty';
import { Board } from './board.js';

/** Its flash, as firmware/sim/src/flash.rs has it. */
const FLASH_BYTES = 4 << 20;
/** Milliseconds from power on until its serial line is there. */
const LINE_WITHIN_MS = 10_000;

/** `$CASEMENT_SIM`, which `tests/run browser` sets; null where it could not be built. */
export function program() {
  const named = process.env.CASEMENT_SIM;
  if (!named) return null;
  if (!existsSync(named)) throw new Error(`$CASEMENT_SIM names ${named}, and nothing is there`);
  return resolve(named);
}

export class Device extends Board {
  /** `folder` holds its flash, its serial line and its screens. */
  constructor(test, folder, options = {}) {
    super(test, options);
    this.folder = folder;
    this.file = join(folder, 'flash.bin');
    this.log = '';
    this.starts = 0;
    const fd = openSync(this.file, 'w');
    writeSync(fd, Buffer.alloc(FLASH_BYTES, 0xff));
    closeSync(fd);
  }

  written(at, bytes) {
    super.written(at, bytes);
    const fd = openSync(this.file, 'r+');
    writeSync(fd, bytes, 0, bytes.length, at);
    closeSync(fd);
  }

  start() {
    const line = join(this.folder, 'tty');
    rmSync(line, { force: true });
    const app = spawn(program(), ['--flash', this.file, '--serial', line, '--screens', join(this.folder, 'screens')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    app.stderr.on('data', (text) => { this.log += text; });
    const ended = new Promise((done) => app.once('exit', done));
    this.starts += 1;
    let stopped = false;
    let out = null;
    let waiting = [];
    const put = (bytes) => {
      for (let from = 0; from < bytes.length;) from += writeSync(out, bytes, from);
    };
    // The link appears when the line is open.
    const look = (until) => {
      if (stopped || app.exitCode !== null) return;
      if (!existsSync(line)) {
        if (performance.now() > until) this.complaints.push(`no serial line within ${LINE_WITHIN_MS} ms: ${this.log}`);
        else setTimeout(look, 5, until);
        return;
      }
      const noctty = constants.O_NOCTTY;
      out = openSync(line, constants.O_WRONLY | noctty);
      const input = new ReadStream(openSync(line, constants.O_RDONLY | noctty));
      input.on('data', (bytes) => !stopped && this.say(bytes));
      // The line hangs up when the device is stopped.
      input.on('error', () => undefined);
      void ended.then(() => {
        input.destroy();
        closeSync(out);
        out = null;
      });
      for (const bytes of waiting) put(bytes);
      waiting = [];
    };
    if (!this.deaf) look(performance.now() + LINE_WITHIN_MS);
    return {
      write: (bytes) => {
        if (stopped || this.deaf) return;
        if (out === null) waiting.push(bytes);
        else put(bytes);
      },
      stop: () => {
        stopped = true;
        app.kill('SIGKILL');
      },
    };
  }

  /** Readings that the gateway has taken from it so far, by its own word. */
  get stored() {
    return [...this.log.matchAll(/ sent \d+, (\d+) stored/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  }
}
