// The home page: a window whose panes are the rooms.

import { useLayoutEffect } from 'preact/hooks';
import { SHAPE } from '../band';
import { Empty } from '../parts/empty';
import { Pane } from '../parts/pane';
import { known, rooms as allRooms, site, summary } from '../state';
import { strings } from '../strings';
import type { Counts } from '../rooms';
import type { Page } from './index';

export const rooms: Page = {
  match: (path) => (path === '/' ? '' : null),
  title: (_path, _rooms, counts) =>
    counts.needAir > 0 ? `${SHAPE[counts.worst]} ${strings.chip.needAir(counts.needAir)}` : '',
  View: Rooms,
};

function Rooms() {
  const list = allRooms.value;
  const ready = known.value;
  useLayoutEffect(() => {
    if (ready) performance.mark('casement-rooms-painted');
  }, [ready]);
  if (!ready) return <main id="main"><h1 tabIndex={-1}>{strings.loading}</h1></main>;
  if (list.length === 0) return <Empty />;
  const many = list.length > 12 ? ' many' : '';
  return (
    <main id="main">
      <div class="lintel">
        <h1 tabIndex={-1}>{headline(summary.value)}</h1>
        <Chips counts={summary.value} />
      </div>
      <ul class={`window${many}`} data-count={Math.min(list.length, 5)} role="list" aria-label={strings.roomsLabel}>
        {list.map((room) => <Pane key={room.name} room={room} />)}
      </ul>
      <Sill />
    </main>
  );
}

function headline(counts: Counts): string {
  if (counts.needAir > 0) return strings.headline.needAir(counts.needAir, counts.total);
  if (counts.good === counts.total) return strings.headline.allGood(counts.total);
  return counts.good > 0 ? strings.headline.goodWhereKnown(counts.good) : strings.headline.unknown;
}

function Chips({ counts }: { counts: Counts }) {
  const worst = counts.worst === 'now' ? 'now' : 'soon';
  const chips = [
    counts.needAir > 0 && { standing: worst, text: strings.chip.needAir(counts.needAir) },
    counts.good > 0 && { standing: 'good', text: strings.chip.good(counts.good) },
    counts.none > 0 && { standing: 'none', text: strings.chip.none(counts.none) },
    counts.offline > 0 && { standing: 'offline', text: strings.chip.offline(counts.offline) },
  ].filter((chip) => chip !== false) as { standing: keyof typeof SHAPE; text: string }[];
  return (
    <ul class="chips" role="list" aria-label={strings.summaryLabel}>
      {chips.map(({ standing, text }) => (
        <li key={standing} class="chip" data-standing={standing}>
          <span class="shape" aria-hidden="true">{SHAPE[standing]}</span> {text}
        </li>
      ))}
    </ul>
  );
}

/** The window sill: what the colours mean. */
function Sill() {
  const { bands } = site.value;
  const notes = strings.bandsNote(bands.soon_from, bands.now_from);
  return (
    <div class="sill">
      <ul class="legend" role="list">
        {(['good', 'soon', 'now'] as const).map((band) => (
          <li key={band}>
            <span class="swatch" data-standing={band} aria-hidden="true">{SHAPE[band]}</span>
            <b>{strings.word[band]}</b> {notes[band]}
          </li>
        ))}
      </ul>
      <p>{strings.bandsSource(bands.label, bands.source)}</p>
    </div>
  );
}
