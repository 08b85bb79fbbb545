// Settings as a device takes them (proto/src/device_settings.rs): here the Wi-Fi is put in, so that its password goes
// from this page to the device and nowhere else. Pure.

const MAGIC = [0x43, 0x53, 0x45, 0x54]; // CSET
const HEADER = 8;
const WIFI = 2;

/** What a network's name or password may be. */
export type WifiFault = 'ssid' | 'password';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** What no device would take, or null. An empty password means an open network. */
export function faultOf(ssid: string, password: string): WifiFault | null {
  const length = bytes(ssid).length;
  if (length < 1 || length > 32 || ssid.includes('\0')) return 'ssid';
  const fits = password === '' || /^[ -~]{8,63}$/.test(password) || /^[0-9a-fA-F]{64}$/.test(password);
  return fits ? null : 'password';
}

/** The image with this network in place of what it said about one. Throws when it is no image. */
export function withWifi(image: Uint8Array, ssid: string, password: string): Uint8Array<ArrayBuffer> {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const whole = image.length >= HEADER + 4 && MAGIC.every((byte, at) => image[at] === byte);
  const end = whole ? HEADER + view.getUint16(6, true) : 0;
  if (!whole || end + 4 !== image.length || view.getUint32(end, true) !== crc32(image.subarray(0, end))) {
    throw new Error('the gateway sent no settings');
  }
  const name = bytes(ssid);
  const entry = [name.length, ...name, ...bytes(password)];
  const entries = [WIFI, entry.length & 0xff, entry.length >> 8, ...entry];
  for (let at = HEADER; at < end;) {
    const next = at + 3 + view.getUint16(at + 1, true);
    if (image[at] !== WIFI) entries.push(...image.subarray(at, next));
    at = next;
  }
  const made = new Uint8Array(HEADER + entries.length + 4);
  made.set(image.subarray(0, HEADER));
  made.set(entries, HEADER);
  const out = new DataView(made.buffer);
  out.setUint16(6, entries.length, true);
  out.setUint32(HEADER + entries.length, crc32(made.subarray(0, HEADER + entries.length)), true);
  return made;
}

/** CRC-32 as zip and Ethernet have it. */
export function crc32(data: Uint8Array): number {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
