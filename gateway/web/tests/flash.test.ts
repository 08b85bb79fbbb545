import { describe, expect, test } from 'vitest';
import { command, COMMAND, encode, KIND, networkOf, part, PART_BYTES, Parser, resultOf, STATE, strongest, type Packet } from '../src/flash/improv';
import { Joining } from '../src/flash/joining';
import { crc32, faultOf, withWifi } from '../src/flash/settings';
import { after, boardsFor, START, troubleOf, type Board, type Event, type Phase, type Setup } from '../src/flash/setup';
import { words } from '../src/flash/strings';

const text = (value: string): number[] => [...new TextEncoder().encode(value)];
const result = (name: number, ...texts: string[]): Packet => {
  const body = texts.flatMap((one) => [text(one).length, ...text(one)]);
  return { kind: KIND.result, data: Uint8Array.from([name, body.length, ...body]) };
};
const state = (value: number): Packet => ({ kind: KIND.state, data: Uint8Array.from([value]) });
const fault = (value: number): Packet => ({ kind: KIND.error, data: Uint8Array.from([value]) });

describe('packets', () => {
  test('one has the bytes of the specification', () => {
    // "Request current state", from the specification's own example.
    expect([...command(COMMAND.state)]).toEqual([...text('IMPROV'), 1, 3, 2, 2, 0, 0xe5, 0x0a]);
  });

  test('are found in the log around them, however they are cut', () => {
    const sent = [state(STATE.ready), result(COMMAND.networks, 'Home', '-61', 'YES'), { kind: 9, data: new Uint8Array(255).fill(0x49) }];
    const line = Uint8Array.from([...text('boot: IMPRO\r\nIMPROV'), ...sent.flatMap((packet) => [...encode(packet), ...text('log IMPROV\x01\n')])]);
    for (let size = 1; size < line.length; size += 7) {
      const parser = new Parser();
      const found: Packet[] = [];
      for (let at = 0; at < line.length; at += size) found.push(...parser.push(line.subarray(at, at + size)));
      expect(found, `cut every ${size} bytes`).toEqual(sent);
    }
  });

  test('one wrong bit anywhere loses that packet and not the next', () => {
    const good = encode(result(COMMAND.info, 'casement', '1.0.0'));
    for (let bit = 0; bit < good.length * 8 - 8; bit++) {
      const bad = good.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      // A length that grew waits for bytes that belong to what follows; enough of it brings the next one out.
      const found = new Parser().push(Uint8Array.from([...bad, ...encode(state(4)), ...encode(state(4)), ...new Uint8Array(300)]));
      expect(found.some((packet) => packet.kind === KIND.result && bit >= 8 && packet.data.length === good.length - 11), `bit ${bit}`).toBe(false);
      expect(found.filter((packet) => packet.kind === KIND.state).length, `bit ${bit}`).toBeGreaterThan(0);
    }
  });

  test('a result is taken apart, and one cut short is none', () => {
    const whole = result(COMMAND.networks, 'Küche', '-42', 'NO');
    expect(resultOf(whole)).toEqual({ command: COMMAND.networks, texts: ['Küche', '-42', 'NO'] });
    for (let end = 0; end < whole.data.length; end++) expect(resultOf({ ...whole, data: whole.data.subarray(0, end) })).toBeNull();
    expect(resultOf(state(2))).toBeNull();
  });

  test('networks: the strongest first, each once, nameless ones left out', () => {
    const heard = [['a', '-80', 'YES'], ['b', '-50', 'NO'], ['a', '-40', 'YES'], ['', '-10', 'YES']]
      .map((texts) => networkOf({ command: COMMAND.networks, texts })).filter((network) => network !== null);
    expect(strongest(heard)).toEqual([{ ssid: 'a', rssi: -40, secured: true }, { ssid: 'b', rssi: -50, secured: false }]);
  });
});

describe('settings', () => {
  const image = (entries: number[]): Uint8Array => {
    const body = Uint8Array.from([...text('CSET'), 1, 0, entries.length & 0xff, entries.length >> 8, ...entries]);
    const check = crc32(body);
    return Uint8Array.from([...body, check & 0xff, (check >> 8) & 0xff, (check >> 16) & 0xff, check >>> 24]);
  };

  test('the checksum is that of zip', () => expect(crc32(Uint8Array.from(text('123456789')))).toBe(0xcbf43926));

  test('the Wi-Fi takes the place of none, and everything else stays', () => {
    const given = image([1, 3, 0, ...text('lab'), 2, 0, 0, 4, 2, 0, ...text('to')]);
    expect(withWifi(given, 'Net', 'passwort')).toEqual(image([2, 12, 0, 3, ...text('Netpasswort'), 1, 3, 0, ...text('lab'), 4, 2, 0, ...text('to')]));
    expect(withWifi(withWifi(given, 'Old', 'passwort'), 'Net', 'passwort')).toEqual(withWifi(given, 'Net', 'passwort'));
  });

  test('what is no image is refused', () => {
    const good = image([1, 1, 0, 97]);
    for (const bad of [new Uint8Array(), good.subarray(1), good.subarray(0, -1), good.map((byte, at) => (at === 9 ? byte ^ 1 : byte))]) {
      expect(() => withWifi(bad, 'a', '')).toThrow();
    }
  });

  test('a network and its password are looked at before they are sent', () => {
    for (const [ssid, password, expected] of [
      ['Net', 'eightchr', null], ['Net', '', null], ['Net', 'f'.repeat(64), null], ['ü'.repeat(16), '', null],
      ['', 'eightchr', 'ssid'], ['ü'.repeat(17), '', 'ssid'], ['Net', 'seven..', 'password'], ['Net', 'pässwort', 'password'], ['Net', 'g'.repeat(64), 'password'],
    ] as const) expect(faultOf(ssid, password), `${ssid} ${password}`).toBe(expected);
  });
});

describe('joining', () => {
  const image = Uint8Array.from({ length: 600 }, (_, at) => at & 0xff);

  test('parts follow each other until the device has them all, then it is in', () => {
    const joining = new Joining(image);
    expect(joining.begin()).toEqual({ send: part(image, 0) });
    expect(joining.take(result(COMMAND.settings, '249'))).toEqual({ send: part(image, 249) });
    expect(joining.take(result(COMMAND.settings, '498'))).toEqual({ send: part(image, 498) });
    expect(joining.patienceMs).toBeLessThan(5_000);
    expect(joining.take(fault(0))).toEqual({});
    expect(joining.take(state(STATE.provisioning))).toEqual({});
    expect(joining.patienceMs).toBeGreaterThan(30_000);
    expect(joining.take(state(STATE.provisioned))).toEqual({});
    expect(joining.take(result(COMMAND.settings, 'https://air.example.org'))).toEqual({ end: { is: 'joined', url: 'https://air.example.org' } });
    expect(part(image, 0).length).toBe(10 + 2 + 4 + PART_BYTES + 1);
  });

  test('a part that got lost is sent again, and not for ever', () => {
    const joining = new Joining(image);
    joining.begin();
    joining.take(result(COMMAND.settings, '249'));
    for (let time = 0; time < 3; time++) expect(joining.silent()).toEqual({ send: part(image, 249) });
    expect(joining.silent()).toEqual({ end: { is: 'silent' } });
    // An answer that tells where to go on is followed, wherever that is.
    expect(new Joining(image).take(result(COMMAND.settings, '0'))).toEqual({ send: part(image, 0) });
  });

  test('a network that says no, settings that are not taken, a device that goes quiet', () => {
    const refused = new Joining(image);
    refused.take(state(STATE.provisioning));
    expect(refused.take(fault(3))).toEqual({ end: { is: 'refused' } });
    const unreached = new Joining(image);
    unreached.take(state(STATE.provisioning));
    expect(unreached.take(result(COMMAND.settings, '0', 'The gateway does not answer.'))).toEqual({});
    expect(unreached.take(fault(3))).toEqual({ end: { is: 'unreached', why: 'The gateway does not answer.' } });
    const unacceptable = new Joining(image);
    expect(unacceptable.take(fault(1))).toEqual({});
    expect(unacceptable.take(result(COMMAND.settings, '0', 'the settings were damaged'))).toEqual({ end: { is: 'unacceptable', why: 'the settings were damaged' } });
    const quiet = new Joining(image);
    quiet.take(state(STATE.provisioning));
    expect(quiet.silent()).toEqual({ end: { is: 'silent' } });
    // Another firmware knows Improv and not our command.
    expect(new Joining(image).take(fault(2)).end?.is).toBe('unacceptable');
  });
});

describe('the way from the cable to the first value', () => {
  const board: Board = { board: 'stamp-c3', chip: 'esp32c3', flash_mib: 4, image: null };
  const all: Event[] = [
    { is: 'begin', room: 'Lab', settingsOnly: false }, { is: 'plugged', candidates: [board] }, { is: 'install', board }, { is: 'written', share: 0.5 },
    { is: 'installed' }, { is: 'heard', networks: [] }, { is: 'join' }, { is: 'added', device: 'lab' }, { is: 'joined' }, { is: 'value' },
  ];

  test('each event leads on', () => {
    const phases: Phase[] = [];
    all.reduce((setup, event) => {
      const next = after(setup, event);
      phases.push(next.phase);
      return next;
    }, START);
    expect(phases).toEqual(['connecting', 'choosing', 'installing', 'installing', 'starting', 'wifi', 'joining', 'joining', 'waiting', 'live']);
  });

  test('no order of events leads to a value that nobody sent, or away from one', () => {
    const seen = new Set<string>();
    const walk = (setup: Setup, depth: number): void => {
      const key = `${depth} ${setup.phase} ${setup.device}`;
      if (depth === 0 || seen.has(key)) return;
      seen.add(key);
      for (const event of [...all, { is: 'trouble', trouble: { name: 'failed' } } as Event]) {
        const next = after(setup, event);
        if (next.phase === 'live' && setup.phase !== 'live') expect([setup.phase, event.is]).toEqual(['waiting', 'value']);
        if (setup.phase === 'live') expect(next).toBe(setup);
        walk(next, depth - 1);
      }
    };
    walk(START, 12);
    expect(seen.size).toBeGreaterThan(50);
  });

  test('a wrong password asks for another one; a cable that came off begins anew, with the room kept', () => {
    const joining = all.slice(0, 8).reduce(after, START);
    const wrong = after(joining, { is: 'trouble', trouble: { name: 'wifi' } });
    expect([wrong.phase, wrong.device, wrong.trouble?.name]).toEqual(['wifi', 'lab', 'wifi']);
    expect(after(wrong, { is: 'join' }).trouble).toBeNull();
    const off = after(joining, { is: 'trouble', trouble: { name: 'unplugged' } });
    expect([off.phase, off.room, off.written]).toEqual(['room', 'Lab', 1]);
  });

  test('a board is known by its chip and its flash', () => {
    const boards: Board[] = [board, { ...board, board: 'core2', chip: 'esp32', flash_mib: 16 }, { ...board, board: 'atom-echo', chip: 'esp32', flash_mib: 4 }];
    const names = (chip: string, flashMib: number | null) => boardsFor({ chip, flashMib }, boards).map((one) => one.board);
    expect(names('esp32', 16)).toEqual(['core2']);
    expect(names('esp32', 8)).toEqual(['core2', 'atom-echo']);
    expect(names('esp32', null)).toEqual(['core2', 'atom-echo']);
    expect(names('esp8266', 4)).toEqual([]);
  });

  test('every error has a name, and every name has words', () => {
    const dom = (name: string, message = 'x') => new DOMException(message, name);
    for (const [error, phase, name] of [
      [dom('NotFoundError', 'No port selected by the user.'), 'connecting', 'cancelled'],
      [dom('NetworkError', 'Failed to open serial port.'), 'connecting', 'busy'],
      [dom('InvalidStateError', 'The port is already open.'), 'starting', 'busy'],
      [dom('SecurityError'), 'connecting', 'notAllowed'],
      [dom('NetworkError', 'The device has been lost.'), 'installing', 'unplugged'],
      [new Error('Failed to connect with the device'), 'connecting', 'silent'],
      [new Error('Serial data stream stopped: Possible serial noise or corruption.'), 'installing', 'silent'],
      [new Error('MD5 of file does not match data in flash!'), 'installing', 'damaged'],
      [Object.assign(new Error('x'), { name: 'UnexpectedChipIdError' }), 'connecting', 'unknownBoard'],
      [new TypeError('Failed to fetch'), 'joining', 'gateway'],
      [{ status: 409, detail: 'names' }, 'joining', 'refused'],
      [{ status: 502 }, 'joining', 'gateway'],
      [new Error('odd'), 'joining', 'failed'],
      [undefined, 'joining', 'failed'],
    ] as const) {
      const trouble = troubleOf(error, phase);
      expect(trouble.name, String(error)).toBe(name);
      expect(words.trouble[trouble.name][0]).not.toBe('');
    }
  });
});
