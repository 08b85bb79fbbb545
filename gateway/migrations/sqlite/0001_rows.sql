-- One row per reading, one row per value. Later layouts replace this behind the Store trait.
CREATE TABLE device (
  id INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,
  room TEXT,
  name TEXT,
  simulated INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE metric (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- The id is the order of commits; live viewers resume by it.
CREATE TABLE reading (
  id INTEGER PRIMARY KEY,
  device INTEGER NOT NULL REFERENCES device (id),
  t INTEGER NOT NULL,
  boot INTEGER,
  seq INTEGER,
  state INTEGER NOT NULL
) STRICT;

-- A reading's name. Readings without one are named by the key of "value".
CREATE UNIQUE INDEX reading_name ON reading (device, boot, seq) WHERE seq IS NOT NULL;

CREATE TABLE value (
  device INTEGER NOT NULL,
  metric INTEGER NOT NULL,
  t INTEGER NOT NULL,
  reading INTEGER NOT NULL,
  value REAL NOT NULL,
  state INTEGER NOT NULL,
  PRIMARY KEY (device, metric, t, reading)
) WITHOUT ROWID, STRICT;

-- Which metrics a device has, so that nobody has to scan its values to find out.
CREATE TABLE series (
  device INTEGER NOT NULL,
  metric INTEGER NOT NULL,
  PRIMARY KEY (device, metric)
) WITHOUT ROWID, STRICT;

CREATE TABLE token (
  id INTEGER PRIMARY KEY,
  lookup BLOB NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  hint TEXT NOT NULL,
  scope TEXT NOT NULL,
  device INTEGER REFERENCES device (id),
  parent INTEGER REFERENCES token (id),
  name TEXT,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER
) STRICT;
CREATE INDEX token_lookup ON token (lookup);
