// One device's way from the cable to its first value: does what `setup` says, and tells it what came of it.

import { signal } from '@preact/signals';
import { addDevice, firmware, type Added, type Flash } from '../api';
import type { Chip } from './esp';
import { command, COMMAND, KIND, networkOf, resultOf, strongest, type Network } from './improv';
import { Joining, type Ending } from './joining';
import { Line } from './line';
import { withWifi } from './settings';
import { after, boardsFor, START, troubleOf, type Board, type Event, type Trouble } from './setup';

/** A board that has just been started, until its port is there, and until it says something. */
const APPEAR_MS = 10_000;
const IMPROV_MS = 12_000;
const ASK_EVERY_MS = 1_000;
/** A scan of the air takes three to six seconds. */
const SCAN_MS = 12_000;
/** From joining to the first value: a warm sensor, one period, one upload. */
const VALUE_MS = 90_000;

export const setup = signal(START);

const tell = (event: Event): void => { setup.value = after(setup.value, event); };

let port: SerialPort | null = null;
let chip: Chip | null = null;
let line: Line | null = null;
/** The device that the gateway has added: another attempt, or another password, is no other device. */
let added: (Added & { room: string }) | null = null;
let patience: number | undefined;

/** Asks for a port, finds out what it is, installs. Must be called by a click: only then browsers show their ports. */
export async function begin(room: string, settingsOnly: boolean, flash: Flash): Promise<void> {
  tell({ is: 'begin', room, settingsOnly });
  if (added?.room !== room) added = null;
  await guarded(async () => {
    port = await navigator.serial.requestPort();
    navigator.serial.addEventListener('disconnect', cameOff);
    if (settingsOnly) return started(APPEAR_MS);
    const { Chip } = await import('./esp');
    chip = await Chip.on(port);
    const candidates = boardsFor(chip.plugged, flash.boards);
    const [only, ...others] = candidates;
    if (!only) throw trouble({ name: 'unknownBoard', detail: chip.plugged.chip });
    if (others.length === 0 && only.flash_mib === chip.plugged.flashMib) return install(only);
    tell({ is: 'plugged', candidates });
  });
}

/** A cable that came off is known at once; esptool would go on asking. While a board starts, some go away and come back. */
function cameOff(event: globalThis.Event): void {
  const { phase } = setup.value;
  if (event.target !== port || phase === 'starting' || phase === 'waiting' || phase === 'live') return;
  tell({ is: 'trouble', trouble: { name: 'unplugged' } });
  void letGo();
}

/** Goes on with the board that somebody chose. */
export const choose = (board: Board): Promise<void> => guarded(() => install(board));

async function install(board: Board): Promise<void> {
  if (!board.image) throw trouble({ name: 'noImage', detail: board.board });
  tell({ is: 'install', board });
  const bytes = await firmware(board.image.url);
  await chip?.write(bytes, 0, (share) => tell({ is: 'written', share }));
  await chip?.start();
  chip = null;
  await started(APPEAR_MS);
}

async function started(withinMs: number): Promise<void> {
  tell({ is: 'installed' });
  if (!port) return;
  line = await Line.open(port, withinMs);
  // A board that appeared anew has another one.
  port = line.port;
  if (await awake(line)) {
    tell({ is: 'heard', networks: await networksOf(line) });
    return;
  }
  // Only what was installed here is known to look into its flash.
  if (!setup.value.board) throw trouble({ name: 'noImprov' });
  await letGo();
  tell({ is: 'heard', networks: [], blind: true });
}

/** Asks until the device answers: it has to start first. False when it never does. */
async function awake(on: Line): Promise<boolean> {
  for (const deadline = performance.now() + IMPROV_MS; performance.now() < deadline;) {
    await on.send(command(COMMAND.state));
    const until = performance.now() + ASK_EVERY_MS;
    for (let left = ASK_EVERY_MS; left > 0; left = until - performance.now()) {
      if ((await on.next(left))?.kind === KIND.state) return true;
    }
  }
  return false;
}

async function networksOf(on: Line): Promise<Network[]> {
  const found: Network[] = [];
  on.clear();
  await on.send(command(COMMAND.networks));
  const until = performance.now() + SCAN_MS;
  for (let left = SCAN_MS; left > 0; left = until - performance.now()) {
    const packet = await on.next(left);
    const result = packet && resultOf(packet);
    if (packet?.kind === KIND.error && packet.data[0] !== 0) break;
    if (result?.command !== COMMAND.networks) continue;
    if (result.texts.length === 0) break;
    const network = networkOf(result);
    if (network) found.push(network);
  }
  return strongest(found);
}

/** Adds the device to the gateway and gives it its settings, Wi-Fi and all. */
export async function join(ssid: string, password: string): Promise<void> {
  tell({ is: 'join' });
  await guarded(async () => {
    const { room } = setup.value;
    added ??= { room, ...(await addDevice(room, location.origin)) };
    tell({ is: 'added', device: added.device });
    const told = withWifi(added.image, ssid, password);
    const ending = setup.value.blind ? await leaveInFlash(told) : line && await conversation(line, new Joining(told));
    switch (ending?.is) {
      case 'joined': break;
      case 'refused': throw trouble({ name: 'wifi' });
      case 'unreached': throw trouble({ name: 'unreached', detail: ending.why });
      case 'unacceptable': throw trouble(ending.why ? { name: 'unacceptable', detail: ending.why } : { name: 'unacceptable' });
      default: throw trouble({ name: 'noImprov' });
    }
    tell({ is: 'joined' });
    patience = window.setTimeout(() => tell({ is: 'trouble', trouble: { name: 'notReached' } }), VALUE_MS);
  });
}

/** The partition `setup`, where a device looks for settings when it starts (firmware/tools/partitions.py). */
const SETUP_AT = 0x3d_0000;
const SECTOR_BYTES = 4096;

async function leaveInFlash(told: Uint8Array): Promise<Ending> {
  if (!port) return { is: 'silent' };
  const { Chip } = await import('./esp');
  chip = await Chip.on(port);
  const sector = new Uint8Array(SECTOR_BYTES).fill(0xff);
  sector.set(told);
  await chip.write(sector, SETUP_AT, () => undefined);
  await chip.start();
  chip = null;
  return { is: 'joined', url: '' };
}

/** Asks for the Wi-Fi again, of a device that cannot say that it did not work. */
export function rejoin(): void {
  clearTimeout(patience);
  tell({ is: 'heard', networks: [], blind: true });
}

async function conversation(on: Line, joining: Joining): Promise<Ending> {
  on.clear();
  for (let move = joining.begin();;) {
    if (move.end) return move.end;
    if (move.send) await on.send(move.send);
    const packet = await on.next(joining.patienceMs);
    move = packet ? joining.take(packet) : joining.silent();
  }
}

/** The first value is there. */
export function arrived(): void {
  clearTimeout(patience);
  tell({ is: 'value' });
  void letGo();
}

export async function another(): Promise<void> {
  clearTimeout(patience);
  added = null;
  tell({ is: 'another' });
  await letGo();
}

/** Lets go of the port, so that other programs find it free. */
export async function letGo(): Promise<void> {
  const held = [chip?.release(), line?.close()];
  chip = null;
  line = null;
  await Promise.all(held.map((done) => done?.catch(() => undefined)));
}

class Troubled extends Error {
  constructor(readonly trouble: Trouble) {
    super(trouble.name);
  }
}

const trouble = (what: Trouble): Troubled => new Troubled(what);

async function guarded(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const what = error instanceof Troubled ? error.trouble : troubleOf(error, setup.value.phase);
    tell({ is: 'trouble', trouble: what });
    // Only where one goes on in the same conversation, the port stays ours.
    if (setup.value.phase !== 'wifi' || what.name === 'unplugged') await letGo();
  }
}
