"""Makes a store of the first layout: one device, 5,000 readings. Arguments: the schema, the file."""
import sqlite3
import sys

schema, file = sys.argv[1:]
t0 = 1_795_000_000_000
store = sqlite3.connect(file)
store.executescript(open(schema).read())
store.execute("INSERT INTO device (id, uid, room, created_ms) VALUES (1, 'attic', 'Attic', 5)")
store.execute("INSERT INTO metric (id, name) VALUES (1, 'co2')")
store.execute("INSERT INTO series VALUES (1, 1)")
for n in range(1, 5001):
    store.execute("INSERT INTO reading VALUES (?, 1, ?, 7, ?, 0)", (n, t0 + n * 10_000, n))
    store.execute("INSERT INTO value VALUES (1, 1, ?, ?, ?, 0)", (t0 + n * 10_000, n, 400 + n % 100))
store.execute("PRAGMA user_version = 1")
store.commit()
