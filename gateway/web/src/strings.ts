// Every word the pages show, in one catalogue. A second language is a second object of this type.
// Only the many words of the certificate page stand apart, to be fetched with it: certificate/strings.ts.

export const plural = (n: number, one: string, many: string) => (n === 1 ? one : many);

export const strings = {
  skip: 'Skip to content',
  ago: (text: string) => `${text} ago`,

  word: { now: 'Air now', soon: 'Air soon', good: 'Good', none: 'No data', offline: 'Offline' },
  state: {
    ok: 'OK',
    warming_up: 'warming up',
    conditioning: 'conditioning',
    calibrating: 'calibrating',
    suspect: 'value doubtful',
    failed: 'sensor fault',
  },
  metric: {
    co2: 'CO₂', eco2: 'eCO₂', temperature: 'Temperature', humidity: 'Humidity', pressure: 'Pressure',
    tvoc: 'TVOC', pm1: 'PM1', pm2_5: 'PM2.5', pm4: 'PM4', pm10: 'PM10', voc_index: 'VOC index',
    nox_index: 'NOx index', illuminance: 'Light', noise: 'Noise', formaldehyde: 'Formaldehyde', radon: 'Radon',
    battery: 'Battery', rssi: 'Wi-Fi signal',
  } as Record<string, string>,
  estimate: 'eCO₂ estimate',
  simulated: 'simulated',

  headline: {
    needAir: (n: number, of: number) =>
      of === 1 ? 'This room needs air' : n === of ? `All ${of} rooms need air` : `${n} of ${of} rooms ${plural(n, 'needs', 'need')} air`,
    allGood: (n: number) => (n === 1 ? 'The air is good' : `The air is good in all ${n} rooms`),
    goodWhereKnown: (n: number) => `The air is good in ${n} ${plural(n, 'room', 'rooms')}`,
    unknown: 'No room is reporting',
    empty: 'No rooms yet',
  },
  chip: {
    needAir: (n: number) => `${n} ${plural(n, 'needs', 'need')} air`,
    good: (n: number) => `${n} good`,
    none: (n: number) => `${n} without a verdict`,
    offline: (n: number) => `${n} offline`,
  },
  summaryLabel: 'Summary',
  roomsLabel: 'Rooms, those that need air first',
  trend: (change: string) => `${change} in 5 min`,
  steady: 'steady',
  offlineSince: (time: string) => `since ${time}`,
  lastValue: (text: string) => `last ${text}`,
  neverHeard: 'has not sent anything yet',
  noVerdict: 'No verdict',
  noGas: 'no CO₂ sensor',
  sparkLabel: (low: string, high: string) => `Last 3 hours: between ${low} and ${high}`,
  sparkEmpty: 'Last 3 hours: no data',

  live: {
    live: 'Live',
    connecting: 'Connecting…',
    offline: 'Not live',
    lost: (time: string) => `Connection lost since ${time}. The numbers below are from then; trying again.`,
  },
  theme: { auto: 'Theme: as the system', light: 'Theme: light', dark: 'Theme: dark' },
  signOut: 'Sign out',
  signIn: 'Sign in',
  bandsNote: (soon: number, now: number) => ({
    good: `below ${soon} ppm`, soon: `from ${soon} ppm`, now: `from ${now} ppm`,
  }),
  bandsSource: (label: string, source: string) => (source ? `Thresholds: ${label} — ${source}` : `Thresholds: ${label}`),
  zone: (zone: string) => `Times in ${zone}`,

  missing: {
    title: 'No such page',
    room: (name: string) => `There is no room called “${name}”`,
    text: 'It may have been renamed, or the address has a typing mistake.',
    back: 'See all rooms',
  },
  loading: 'Loading…',
  failed: 'The gateway did not answer.',
  retry: 'Try again',

  empty: {
    lead: 'The window is in place; nothing breathes behind it yet. Choose one of three ways to put the first room here.',
    device: 'Add a device',
    deviceText: 'Plug an M5Stack board into this computer, and this page puts the firmware on it. Anything else: name it on the server and give it the token that this prints.',
    plug: 'Plug one in',
    send: 'Send a reading yourself',
    sendText: 'Anything that speaks HTTP will do. Put the token of the device in place of $TOKEN.',
    demo: 'Try it with simulated rooms',
    demoText: 'A few rooms that fill up and are aired like real ones, each marked “simulated”.',
    copy: 'Copy',
    copied: 'Copied',
  },

  room: {
    back: 'All rooms',
    ranges: 'Range',
    custom: 'Custom…',
    from: 'From',
    to: 'To',
    show: 'Show',
    earlier: 'Earlier',
    later: 'Later',
    goLive: 'Go live',
    liveEdge: 'Live',
    nowEdge: 'now',
    paused: 'Live is paused: this is the past',
    csv: 'Download CSV',
    csvTitle: 'Every raw reading in this range',
    table: 'Table of the same data',
    tableCapped: (n: number) => `The first ${n} rows; the CSV has all of them.`,
    keys: 'Keyboard',
    help: 'Chart keys',
    close: 'Close',
    others: 'Other measurements',
    devices: 'Sensors in this room',
    method: 'About this number',
    showLarge: 'show in the large chart',
    noData: 'No data in this range.',
    never: 'The sensor in this room has not sent anything yet. The chart starts with its first reading.',
    updating: 'Loading the chart…',
  },
  keys: [
    ['← →', 'one point back or forward'],
    ['Shift + ← →', 'ten points'],
    ['Home · End', 'first or last point'],
    ['1 … 6', '1 h, 6 h, 24 h, 7 d, 30 d, 1 y'],
    ['L', 'back to live'],
    ['T', 'open or close the table'],
    ['?', 'this list'],
    ['Esc', 'hide the cursor'],
  ] as const,

  chart: {
    name: (metric: string, room: string) => `${metric} in ${room}`,
    role: 'interactive chart',
    hint: 'Arrow keys read single points; question mark lists all keys.',
    gapWord: 'no data',
    gapSince: (from: string) => `no data since ${from}`,
    gapUntil: (to: string) => `no data until ${to}`,
    soonFrom: (value: number) => `${value} air soon`,
    nowFrom: (value: number) => `${value} air now`,
    outdoor: 'outdoor air ≈ 425',
    bucket: (length: string) => `${length} mean`,
    bucketOf: (length: string, count: number, of: number) => `${length} mean, ${count} of ${of} samples`,
    range: (min: string, max: string) => `${min} to ${max}`,
    start: 'start of the range',
    end: 'end of the range',
  },
  table: { time: 'Time', from: 'From', value: 'Value', min: 'Min', mean: 'Mean', max: 'Max', count: 'Samples', band: 'Air' },

  sentence: {
    noData: 'No data in this range.',
    inRange: 'in this range',
    inLast: (length: string) => `in the last ${length}`,
    above: (level: string, time: string, when: string) => `Above ${level} for ${time} ${when}.`,
    about: 'about ',
    briefly: (level: string, when: string) => `Above ${level} for less than a minute ${when}.`,
    meanBelow: (level: string, max: string, when: string) => `Below ${level} on average, ${max} at most ${when}.`,
    neverAbove: (level: string, when: string) => `Never above ${level} ${when}.`,
    between: (min: string, max: string, when: string) => `Between ${min} and ${max} ${when}.`,
    under: (n: number) => `less than ${n}`,
    coverage: (percent: string) => `Only ${percent} % of that time has data.`,
    spread: (from: string, to: string, median: string, max: string, at: string) =>
      `Between ${from} and ${to}: median ${median}, maximum ${max} at ${at}.`,
  },

  flash: { title: 'Add a device' },
  doctor: {
    title: 'Checks',
    waiting: 'Looking at names, ports, certificate, disk and store …',
    closed: 'The checks are shown to administrators. This command on the server prints a link that signs one in:',
    failed: 'The checks could not be made.',
    again: 'Look again',
    fix: 'Fix:',
    asOf: (when: string) => `As of ${when}.`,
    verdict: (problems: number, warnings: number) =>
      problems > 0 ? `${problems} ${problems === 1 ? 'problem' : 'problems'} to mend`
        : warnings > 0 ? `It works; ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}` : 'Everything is well',
    headings: { problem: 'Problems', warning: 'Warnings', ok: 'Good', skipped: 'Does not apply' },
  },
  certificate: {
    title: 'Certificate',
    verdict: {
      trusted: 'Trusted', private: 'Private', self_signed: 'Self-signed', expired: 'Expired', wrong_names: 'Wrong names',
    },
    notYet: 'Not yet valid',
  },

  method: {
    measured: {
      co2: 'Measured CO₂. The sensor detects the gas itself (photoacoustic or infrared), typically within ±50 ppm ±5 %. Sensors of this kind recalibrate to the freshest air they see, so a room that is never aired reads low.',
      other: 'Measured by the sensor in the room. Sun, radiators and people close to it shift the number.',
    },
    estimated:
      'Estimated from volatile compounds (VOCs), not measured CO₂. It also reacts to alcohol, cleaning agents and cooking, and is not a measure of ventilation.',
    bands: (label: string) => `Colours follow the profile “${label}”. They are guidance on fresh air, not safety limits.`,
    where: 'Good places for a sensor: head height, away from windows, doors and vents, more than 50 cm from people.',
  },
};

export type Strings = typeof strings;
