// Fetches the readings behind a chart and keeps them current. A hook, shared by large and small charts.

import { useEffect, useRef, useState } from 'preact/hooks';
import { readings as fetchReadings, type Readings } from '../api';
import { onReading } from '../live';
import { bootReadings, connection, missed, serverTime } from '../state';
import { bounds, DEFAULT_PRESET, isLive, type Range } from './ranges';
import { appended } from './series';

export interface Loaded {
  /** Of this device and metric, but while `loading` maybe still of another range. */
  readings: Readings | null;
  loading: boolean;
  failed: boolean;
  retry(): void;
}

export function useReadings(device: string, metric: string, range: Range, maxPoints?: number): Loaded {
  const [readings, setReadings] = useState<Readings | null>(() => fromPage(device, metric, range));
  const [loading, setLoading] = useState(readings === null);
  const [failed, setFailed] = useState(false);
  const [turn, setTurn] = useState(0);
  const fresh = useRef(readings !== null);
  const rangeKey = isLive(range) ? range.preset.id : `${range.from}-${range.to}`;

  useEffect(() => {
    // The page brought these readings along; the stream keeps them current.
    if (fresh.current) {
      fresh.current = false;
      return;
    }
    const stop = new AbortController();
    setLoading(true);
    setFailed(false);
    const query = { device, metric, ...bounds(range, serverTime()) };
    fetchReadings(maxPoints ? { ...query, maxPoints } : query, stop.signal).then(
      (answer) => {
        setReadings(answer);
        setLoading(false);
      },
      () => {
        if (stop.signal.aborted) return;
        setFailed(true);
        setLoading(false);
      },
    );
    return () => stop.abort();
  }, [device, metric, rangeKey, turn, missed.value]);

  useEffect(() => {
    if (!isLive(range)) return undefined;
    return onReading((event) => {
      const value = event.device === device ? event.values[metric] : undefined;
      if (value === undefined) return;
      setReadings((old) => (old && old.metric === metric && old.device === device ? appended(old, event.time_ms, value) : old));
    });
  }, [device, metric, rangeKey]);

  // Asked in vain while the gateway was away: it is back.
  const live = connection.value.is === 'live';
  const wasLive = useRef(live);
  useEffect(() => {
    if (!wasLive.current && live && failed) setTurn((n) => n + 1);
    wasLive.current = live;
  }, [live, failed]);

  const mine = readings && readings.device === device && readings.metric === metric ? readings : null;
  return { readings: mine, loading, failed, retry: () => setTurn((n) => n + 1) };
}

/** The server puts the headline's last 24 hours into a room page. */
function fromPage(device: string, metric: string, range: Range): Readings | null {
  const brought = bootReadings.current;
  // Good for the first chart only; for a later one they would be old.
  bootReadings.current = null;
  if (!brought || brought.device !== device || brought.metric !== metric) return null;
  if (!isLive(range) || range.preset !== DEFAULT_PRESET) return null;
  return brought;
}
