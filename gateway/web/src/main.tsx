// Starts the page: boot data, router, clock, live stream, first render.

import './locale';
import './styles/index.css';
import { render } from 'preact';
import { devices as fetchDevices, type Boot } from './api';
import { startBadge } from './badge';
import { startLive } from './live';
import { pageAt, pages } from './pages';
import { Shell } from './parts/shell';
import { afterFrame } from './frame';
import { here, startRouter } from './router';
import { startClock, takeBoot, takeSnapshot } from './state';

function App() {
  const { path } = here.value;
  const page = pageAt(path);
  // The key makes a page of another room a new page: no state leaks from one to the next.
  return <Shell><page.View key={path} subject={page.match(path) ?? ''} /></Shell>;
}

function readBoot(): Boot | null {
  try {
    return JSON.parse(document.getElementById('casement-boot')?.textContent ?? 'null') as Boot | null;
  } catch {
    return null;
  }
}

const boot = readBoot();
if (boot) takeBoot(boot);
else void fetchDevices().then(takeSnapshot, () => undefined);

startRouter((path) => {
  const page = pages.find((candidate) => candidate.match(path) !== null && !candidate.apart);
  return page && (() => void page.load?.().catch(() => undefined));
});
startClock();
// The server's plain page stays until ours is complete.
const { load } = pageAt(here.value.path);
if (load) void load().catch(() => undefined).then(start);
else start();

function start(): void {
  const container = document.getElementById('app') as HTMLElement;
  container.textContent = '';
  render(<App />, container);
  startBadge();
  // What the page brought along is on the screen first; then it goes live.
  afterFrame(startLive);
}
