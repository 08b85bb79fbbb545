// Writing firmware, by Espressif's own esptool-js. The only file that knows it; fetched when a board is connected.

import { ESPLoader, Transport } from 'esptool-js';
import { md5 } from 'js-md5';
import { BAUD, pause } from './line';
import type { Plugged } from './setup';

/** A bridge takes this rate nearly always; esptool-js falls back by itself where one does not. */
const FAST_BAUD = 921_600;
/** Chips with a USB port of their own: there the rate means nothing, and changing it restarts some of them. */
const ESPRESSIF = 0x303a;

const quiet = { clean: () => undefined, write: () => undefined, writeLine: () => undefined };

/** A chip that waits for firmware. */
export class Chip {
  private constructor(private readonly loader: ESPLoader, private readonly transport: Transport, readonly plugged: Plugged) {}

  /** Resets the board into its bootloader and asks what it is. */
  static async on(port: SerialPort): Promise<Chip> {
    const transport = new Transport(port);
    const baudrate = port.getInfo().usbVendorId === ESPRESSIF ? BAUD : FAST_BAUD;
    const loader = new ESPLoader({ transport, baudrate, romBaudrate: BAUD, terminal: quiet });
    try {
      await loader.main();
      const size = /^(\d+)MB$/.exec((await loader.detectFlashSize()) ?? '')?.[1];
      const chip = loader.chip.CHIP_NAME.toLowerCase().replaceAll('-', '');
      return new Chip(loader, transport, { chip, flashMib: size === undefined ? null : Number(size) });
    } catch (error) {
      await transport.disconnect().catch(() => undefined);
      throw error;
    }
  }

  /** Writes bytes at a place in flash and compares what is there then. */
  async write(image: Uint8Array, address: number, progress: (share: number) => void): Promise<void> {
    await this.loader.writeFlash({
      fileArray: [{ data: image, address }],
      flashMode: 'keep', flashFreq: 'keep', flashSize: 'keep', eraseAll: false, compress: true,
      reportProgress: (_file, written, total) => progress(written / total),
      calculateMD5Hash: (data) => md5(data),
    });
  }

  /** Starts what was written and lets go of the port. */
  async start(): Promise<void> {
    await this.transport.setDTR(false);
    await this.transport.setRTS(true);
    await pause(100);
    await this.transport.setRTS(false);
    await this.release();
  }

  async release(): Promise<void> {
    await this.transport.disconnect();
  }
}
