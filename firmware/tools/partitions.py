"""Writes a partition table for ESP32 chips: partitions.py FLASH_MIB OUT.

The layout is the same on all boards; only the queue grows with the flash, up to what is read in a second at start.
Format: 32 bytes for each partition, then the MD5 of all of them, filled up with 0xff to 3 KiB
(https://docs.espressif.com/projects/esp-idf/en/stable/esp32c3/api-guides/partition-tables.html).
"""

import hashlib
import struct
import sys

APP, DATA = 0, 1
QUEUE_MAX = 0x200000


def layout(flash):
    queue = 0x3D5000
    return [
        # label, type, subtype, offset, size
        ("settings", DATA, 0x06, 0x9000, 0x2000),
        # The last good time.
        ("time", DATA, 0x06, 0xB000, 0x2000),
        ("otadata", DATA, 0x00, 0xD000, 0x2000),
        ("phy_init", DATA, 0x01, 0xF000, 0x1000),
        ("ota_0", APP, 0x10, 0x10000, 0x1E0000),
        ("ota_1", APP, 0x11, 0x1F0000, 0x1E0000),
        # Settings that are flashed beside the firmware; see firmware/board/src/setup.rs.
        ("setup", DATA, 0x06, 0x3D0000, 0x1000),
        ("baselines", DATA, 0x06, 0x3D1000, 0x2000),
        # How far an update is; see firmware/core/src/update.rs.
        ("update", DATA, 0x06, 0x3D3000, 0x2000),
        ("queue", DATA, 0x06, queue, min(flash - queue, QUEUE_MAX)),
    ]


def table(flash):
    end, entries = 0x9000, b""
    for label, kind, subtype, offset, size in layout(flash):
        if offset != end or size % 0x1000 or (kind == APP and offset % 0x10000):
            sys.exit(f"partition {label} at {offset:#x} does not follow the one before, or is not aligned")
        end = offset + size
        entries += struct.pack("<2sBBLL16sL", b"\xaa\x50", kind, subtype, offset, size, label.encode(), 0)
    if end > flash:
        sys.exit(f"the partitions end at {end:#x}, past the flash of {flash:#x} bytes")
    entries += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(entries).digest()
    return entries.ljust(0xC00, b"\xff")


if __name__ == "__main__":
    mib, out = sys.argv[1:]
    with open(out, "wb") as file:
        file.write(table(int(mib) << 20))
