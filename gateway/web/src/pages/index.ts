// Every page of the dashboard. Adding one is one file and one line here.

import type { ComponentType } from 'preact';
import type { Counts, Room } from '../rooms';
import { certificate } from './certificate';
import { doctor } from './doctor';
import { flash } from './flash';
import { missing } from './missing';
import { room } from './room';
import { rooms } from './rooms';

export interface Page {
  /** What the path names (a room, or '' when the page is the only one), null when it is not ours. */
  match(path: string): string | null;
  /** Without the site's name. */
  title(path: string, rooms: readonly Room[], counts: Counts): string;
  /** Fetches what the view needs beyond the first file; called again it does nothing. */
  load?(): Promise<void>;
  /** It has rights that other pages have not: the browser must fetch it as a document of its own. */
  apart?: true;
  View: ComponentType<{ subject: string }>;
}

export const pages: readonly Page[] = [
  rooms,
  room,
  certificate,
  doctor,
  flash,
];

export const pageAt = (path: string): Page => pages.find((page) => page.match(path) !== null) ?? missing;
