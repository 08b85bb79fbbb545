-- Packed readings: a log of commits, pieces of an hour, and days as columns. The same blobs as in SQLite; every key that
-- grows with readings begins with the device, so that such tables can be distributed by it.

-- How far the store is: the newest reading, and how often something was sealed. Every commit changes this row, which is
-- what makes two gateways take turns: free room in the page lets the row stay where it is.
CREATE TABLE mark (
  one SMALLINT PRIMARY KEY CHECK (one = 1),
  newest BIGINT NOT NULL,
  seals BIGINT NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO mark VALUES (1, 0, 0);

-- One row for a commit; "last" is the number of its last reading.
CREATE TABLE log (
  last BIGINT PRIMARY KEY,
  data BYTEA NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE device (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uid TEXT COLLATE "C" NOT NULL UNIQUE,
  room TEXT,
  name TEXT,
  simulated BOOLEAN NOT NULL DEFAULT false,
  created_ms BIGINT NOT NULL,
  sealed BIGINT NOT NULL DEFAULT 0,
  newest_ms BIGINT,
  latest BYTEA
) WITH (fillfactor = 70);

-- Numbers begin with 1: metric 0 stands for the times of a device's readings.
CREATE TABLE metric (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name TEXT COLLATE "C" NOT NULL UNIQUE,
  -- The first day of which raw values are kept, when older ones are not.
  kept_from BIGINT
);

CREATE TABLE series (
  device BIGINT NOT NULL,
  metric BIGINT NOT NULL,
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (device, metric)
);

-- An hour of a device, or less. Put together to a day when that is over.
CREATE TABLE piece (
  device BIGINT NOT NULL,
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  day BIGINT NOT NULL,
  made_ms BIGINT NOT NULL,
  readings BIGINT NOT NULL,
  "values" BIGINT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (device, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX piece_day ON piece (device, day);

-- Days. A partition for each month is made when its first day is put together; what has none yet is in the default one.
CREATE TABLE "column" (
  device BIGINT NOT NULL,
  series BIGINT NOT NULL,
  day BIGINT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (device, series, day)
) PARTITION BY RANGE (day);

-- Beside them, so that a chart of a year reads nothing else. "n" counts values.
CREATE TABLE summary (
  device BIGINT NOT NULL,
  series BIGINT NOT NULL,
  day BIGINT NOT NULL,
  n BIGINT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (device, series, day)
) PARTITION BY RANGE (day);

-- Sequence numbers seen, in blocks of 65,536.
CREATE TABLE ledger (
  device BIGINT NOT NULL,
  boot BIGINT NOT NULL,
  block BIGINT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (device, boot, block)
);

-- What could not be read when a day was put together, for whoever wants to try.
CREATE TABLE damaged (
  device BIGINT NOT NULL,
  id BIGINT GENERATED ALWAYS AS IDENTITY,
  day BIGINT NOT NULL,
  note TEXT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (device, id)
);

-- Blobs are compressed already: trying it again would only cost time.
ALTER TABLE log ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE piece ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE "column" ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE summary ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE ledger ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE damaged ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE column_other PARTITION OF "column" DEFAULT;
CREATE TABLE summary_other PARTITION OF summary DEFAULT;

CREATE TABLE token (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  lookup BYTEA NOT NULL,
  hash BYTEA NOT NULL UNIQUE,
  hint TEXT NOT NULL,
  scope TEXT NOT NULL,
  device BIGINT REFERENCES device (id),
  parent BIGINT REFERENCES token (id),
  name TEXT,
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT,
  revoked_ms BIGINT
);
CREATE INDEX token_lookup ON token (lookup);
CREATE INDEX token_parent ON token (parent) WHERE parent IS NOT NULL;
