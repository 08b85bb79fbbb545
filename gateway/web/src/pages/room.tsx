// The page of one room: its address, its title, and where its view comes from.

import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { SHAPE } from '../band';
import { number } from '../format';
import { precision } from '../quantities';
import type { Room } from '../rooms';
import { focusHeading } from '../router';
import { known, rooms } from '../state';
import { strings } from '../strings';
import type { Page } from './index';
import { Missing } from './missing';

const view = signal<ComponentType<{ room: Room }> | null>(null);

export const room: Page = {
  match: (path) => {
    const name = /^\/r\/([^/]+)\/?$/.exec(path)?.[1];
    try {
      return name === undefined ? null : decodeURIComponent(name);
    } catch {
      return null; // A stray per cent sign.
    }
  },
  title: (path, list) => {
    const name = room.match(path) ?? '';
    const found = list.find((candidate) => candidate.name === name);
    if (!found) return name;
    const { headline } = found.lead;
    const value = headline ? ` ${number(headline.value, precision(headline.metric))} ${headline.unit}` : '';
    return `${SHAPE[found.standing]}${value} · ${name}`;
  },
  // The chart library weighs as much as all the rest; the home page does without it.
  load: async () => {
    view.value ??= (await import('./room-view')).RoomView;
  },
  View: ({ subject }) => {
    const found = rooms.value.find((candidate) => candidate.name === subject);
    const Room = view.value;
    // The heading that had the focus was a stand-in until the view arrived.
    const waited = useRef(!Room);
    useEffect(() => {
      if (Room && waited.current && document.activeElement === document.body) focusHeading();
    }, [Room]);
    if (known.value && !found) return <Missing title={strings.missing.room(subject)} />;
    return found && Room ? <Room room={found} /> : <main id="main"><h1 tabIndex={-1}>{subject}</h1></main>;
  },
};
