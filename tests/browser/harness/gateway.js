// The real gateway binary: start, kill, restart, its command line, and readings posted through its API.

import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const READY_WITHIN_MS = 30_000;
const root = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../../..');

/** `$CASEMENT_BIN`, or the newer of the release and the debug build. */
function binary() {
  const named = process.env.CASEMENT_BIN;
  if (named) return resolve(named);
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const built = ['release', 'debug'].map((profile) => join(target, profile, 'casement')).filter(existsSync);
  built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  if (!built[0]) throw new Error(`no casement binary in ${target}; build it with: cargo build --release -p casement`);
  return built[0];
}

/** Nothing of the surroundings reaches the program but what stands here. */
const environment = (folder, more = {}) => ({ PATH: process.env.PATH, HOME: folder, RUST_BACKTRACE: '1', ...more });

/** A folder with a configuration and room for the data of one gateway; gone with the test. */
export class Home {
  constructor(test, { dashboard = 'public' } = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'casement-'));
    this.dataDir = join(this.folder, 'data');
    this.config = join(this.folder, 'casement.toml');
    this.dashboard = dashboard;
    this.configure('127.0.0.1:0', '127.0.0.1:0');
    this.gateways = [];
    test.after(async () => {
      for (const gateway of this.gateways) await gateway.kill();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  configure(http, https) {
    writeFileSync(this.config, [
      `data_dir = ${JSON.stringify(this.dataDir)}`,
      '[listen]', `http = ["${http}"]`, `https = ["${https}"]`,
      '[tls]', 'source = "self-signed"',
      '[access]', `dashboard = "${this.dashboard}"`, '',
    ].join('\n'));
  }

  async serve() {
    const gateway = await Gateway.launch(this.folder, this.dataDir, ['serve', '--config', this.config]);
    this.gateways.push(gateway);
    return gateway;
  }

  /** Makes later starts use the ports this gateway was given. */
  keepPorts(gateway) {
    this.configure(gateway.ready.http[0], gateway.ready.https[0]);
  }

  /** Runs a command and gives its stdout, without the line end. */
  async run(...args) {
    const options = { cwd: this.folder, env: environment(this.folder) };
    const { stdout } = await promisify(execFile)(binary(), [...args, '--config', this.config], options);
    return stdout.trimEnd();
  }

  addDevice(id, room) {
    return this.run('device', 'add', id, '--room', room);
  }

  createToken(scope) {
    return this.run('token', 'create', '--scope', scope);
  }
}

export class Gateway {
  /** Starts the program and waits for its ready line. Whoever starts it must kill it. */
  static async launch(folder, dataDir, args, env = {}) {
    const child = spawn(binary(), args, { cwd: folder, env: environment(folder, env), stdio: ['ignore', 'pipe', 'pipe'] });
    const gateway = new Gateway();
    Object.assign(gateway, { child, dataDir, log: '' });
    gateway.ended = new Promise((done) => child.once('exit', done));
    child.stderr.on('data', (text) => { gateway.log += text; });
    const line = await new Promise((ready, fail) => {
      let seen = '';
      const patience = setTimeout(() => {
        child.kill('SIGKILL');
        fail(new Error(`no ready line in ${READY_WITHIN_MS} ms\n${gateway.log}`));
      }, READY_WITHIN_MS);
      patience.unref();
      child.once('exit', (code) => fail(new Error(`casement ${args.join(' ')} ended with ${code}\n${gateway.log}`)));
      child.once('error', fail);
      child.stdout.on('data', (text) => {
        seen += text;
        if (!seen.includes('\n')) return;
        clearTimeout(patience);
        ready(seen);
      });
    });
    gateway.readyAt = performance.now();
    gateway.ready = JSON.parse(line.replace(/^ready /, ''));
    gateway.url = `https://${gateway.ready.https[0]}`;
    return gateway;
  }

  /** Ends it without warning, and waits until it is gone. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** Sends a request over TLS that trusts the gateway's own certificate. */
  fetch(path, { method = 'GET', headers = {}, body } = {}) {
    const ca = readFileSync(join(this.dataDir, 'certs/self-signed.pem'));
    return new Promise((done, fail) => {
      const call = request(`${this.url}${path}`, { method, headers, ca }, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (part) => { text += part; });
        answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, text }));
        answer.on('error', fail);
      });
      call.on('error', fail);
      call.end(body);
    });
  }

  /** Posts readings as a device; anything but 200 with all of them stored is an error. */
  async post(token, readings) {
    const answer = await this.fetch('/api/v1/readings', {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ readings }),
    });
    if (answer.status !== 200 || JSON.parse(answer.text).stored !== readings.length) {
      throw new Error(`${answer.status} ${answer.text}`);
    }
  }
}

/** `casement demo` in an empty folder, on any free ports. */
export async function demo(test, ...args) {
  const folder = mkdtempSync(join(tmpdir(), 'casement-demo-'));
  const env = { CASEMENT_LISTEN__HTTP: '["127.0.0.1:0"]', CASEMENT_LISTEN__HTTPS: '["127.0.0.1:0"]' };
  const gateway = await Gateway.launch(folder, join(folder, 'casement-data'), ['demo', ...args], env);
  test.after(async () => {
    await gateway.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  return gateway;
}

/** One co2 reading a minute up to now, with temperature and humidity, and a pause in the middle. */
export function dayOfReadings({ co2 = (i) => 600 + 300 * Math.sin(i / 90), hours = 24, until = Date.now(), metric = 'co2' } = {}) {
  const readings = [];
  for (let i = 0; i < hours * 60; i++) {
    const left = hours * 60 - 1 - i;
    if (hours > 8 && left > 240 && left < 300) continue; // an hour of silence, four hours ago
    readings.push({
      time: until - left * 60_000,
      [metric]: Math.round(co2(i)),
      temperature: Math.round(2150 + 80 * Math.sin(i / 200)) / 100,
      humidity: Math.round(4200 + 300 * Math.cos(i / 150)) / 100,
    });
  }
  return readings;
}

/** A gateway with one room of each kind: good, soon, now, offline, estimated, warming up, never heard of. */
export async function school(test, options) {
  const home = new Home(test, options);
  const rooms = [
    ['lab', 'Lab', dayOfReadings()],
    ['r101', 'Room 101', dayOfReadings({ co2: (i) => 900 + 600 * Math.abs(Math.sin(i / 200)) + (i > 1400 ? 400 : 0) })],
    ['library', 'Library', dayOfReadings({ co2: () => 1120 })],
    ['gym', 'Gym', dayOfReadings({ hours: 2, until: Date.now() - 3 * 3_600_000 })],
    ['office', 'Office', dayOfReadings({ hours: 3, metric: 'eco2', co2: (i) => 450 + i })],
    ['canteen', 'Canteen', [{ time: Date.now(), co2: 480, state: 'warming_up' }]],
    ['attic', 'Attic with a name that is rather long for a room', []],
  ];
  const tokens = {};
  for (const [id, room] of rooms) tokens[id] = await home.addDevice(id, room);
  const gateway = await home.serve();
  for (const [id, , readings] of rooms) {
    if (readings.length > 0) await gateway.post(tokens[id], readings);
  }
  return { home, gateway, tokens };
}
