-- Packed readings: a log of commits, pieces of an hour, and days as columns. The rows of 0001 are taken over one after
-- the other while "value" is still there; 0003 takes them away.
ALTER TABLE device ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN newest_ms INTEGER;
ALTER TABLE device ADD COLUMN latest BLOB;

-- The first day of which raw values are kept, when older ones are not.
ALTER TABLE metric ADD COLUMN kept_from INTEGER;

-- Metric 0 stands for the times of a device's readings.
ALTER TABLE series RENAME TO series_rows;
CREATE TABLE series (
  device INTEGER NOT NULL,
  metric INTEGER NOT NULL,
  id INTEGER NOT NULL,
  PRIMARY KEY (device, metric)
) WITHOUT ROWID, STRICT;

-- How far the store is: the newest reading that is not in the log any more, how often something was sealed, the number of
-- the last series, and how far the rows of 0001 have been taken over.
CREATE TABLE mark (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  newest INTEGER NOT NULL,
  seals INTEGER NOT NULL,
  series INTEGER NOT NULL,
  taken_over INTEGER NOT NULL
) STRICT;
INSERT INTO mark VALUES (1, (SELECT coalesce(max(id), 0) FROM reading), 0, 0, 0);

-- One row for a commit; "last" is the number of its last reading.
CREATE TABLE log (
  last INTEGER PRIMARY KEY,
  data BLOB NOT NULL
) STRICT;

-- An hour of a device, or less. Put together to a day when that is over.
CREATE TABLE piece (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device INTEGER NOT NULL,
  day INTEGER NOT NULL,
  made_ms INTEGER NOT NULL,
  readings INTEGER NOT NULL,
  "values" INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE INDEX piece_day ON piece (device, day, made_ms);

-- Days, in parts of some 900 bytes. The id is series << 32 | (day + 2^21) << 10 | part: a series lies in one place, in order,
-- and needs no index.
CREATE TABLE "column" (
  id INTEGER PRIMARY KEY,
  data BLOB NOT NULL
) STRICT;

-- Beside them, so that a chart of a year reads nothing else. "n" counts values.
CREATE TABLE summary (
  id INTEGER PRIMARY KEY,
  n INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

-- Sequence numbers seen, in blocks of 65,536.
CREATE TABLE ledger (
  device INTEGER NOT NULL,
  boot INTEGER NOT NULL,
  block INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (device, boot, block)
) WITHOUT ROWID, STRICT;

-- What could not be read when a day was put together, for whoever wants to try.
CREATE TABLE damaged (
  id INTEGER PRIMARY KEY,
  device INTEGER NOT NULL,
  day INTEGER NOT NULL,
  note TEXT NOT NULL,
  data BLOB NOT NULL
) STRICT;
