// The gateway's time in whole minutes, for what need not be drawn anew every second.

import { computed } from '@preact/signals';
import { now } from '../state';

export const minute = computed(() => Math.floor(now.value / 60_000) * 60_000);
