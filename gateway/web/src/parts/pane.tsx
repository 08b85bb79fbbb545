// One pane of the window: a room, and the air in it.

import { haze } from '../band';
import { roomPath, type Room } from '../rooms';
import { connection, site } from '../state';
import { strings } from '../strings';
import { Climate, Figure, Freshness, Verdict } from './headline';
import { Spark } from './spark';

export function Pane({ room }: { room: Room }) {
  const { lead, standing } = room;
  const { bands } = site.value;
  const value = lead.headline?.value;
  const thick = value !== undefined && lead.band ? haze(value, bands) : 0;
  return (
    <li
      class={`pane${connection.value.is === 'lost' ? ' stale' : ''}`}
      data-room={room.name}
      data-standing={standing}
      data-band={lead.band ?? 'none'}
      data-presence={lead.presence}
      style={{ '--haze': String(thick) }}
    >
      <div class="sash">
        <span class="air" aria-hidden="true" />
        <div class="pane-name">
          <h2><a href={roomPath(room.name)}>{room.name}</a></h2>
          {lead.simulated && <span class="tag">{strings.simulated}</span>}
        </div>
        <div class="pane-air">
          <Figure device={lead} standing={standing} />
          <Verdict device={lead} standing={standing} />
        </div>
        <div class="pane-past">{lead.spark && standing !== 'offline' && <Spark spark={lead.spark} bands={bands} />}</div>
        <div class="pane-foot">
          <Freshness device={lead} standing={standing} />
          <Climate room={room} />
        </div>
      </div>
    </li>
  );
}
