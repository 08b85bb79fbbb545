#!/usr/bin/env python3
"""Renders the fonts of the screens: ../src/font/tables.rs and the .bits files beside it.

Needed only to change a size or a letter; what it makes is committed. Sources are the npm packages @fontsource/jost
5.3.0 and @fontsource/inter 5.3.0, both under the SIL Open Font License 1.1 (OFL-jost.txt, OFL-inter.txt):

    npm pack @fontsource/jost@5.3.0 @fontsource/inter@5.3.0      # then unpack both
    pip install fonttools==4.68.0 brotli pillow==13.0.0
    ./generate.py FOLDER_WITH_THE_WOFF2_FILES && cargo fmt -p casement-screen

Formats (src/font.rs reads them). Every pixel is a coverage from 0 to 15.
 packed: rows of ceil(width / 2) bytes, left pixel in the high half.
 runs:   a table of `height` little-endian u16, where each row starts, counted from the table; a row is bytes of
         (length - 1) << 4 | coverage, until the width is full.
"""
import io
import pathlib
import struct
import sys

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

ASCII = [chr(c) for c in range(0x20, 0x7F)]
LATIN = ASCII + [chr(c) for c in range(0xC0, 0x100) if c not in (0xD7, 0xF7)] + list("°·µß–—’“”„…₂×±")
WORDS = [c for c in ASCII if c not in "\"#$&'()*+/;<=>@[\\]^_`{|}~"] + list("–₂")
DIGITS = list("0123456789")

# name, file, weight, size in pixels per em, letters, encoding, doc
FONTS = [
    ("NUMBER", "jost", 500, 100, DIGITS, "runs", "The number on a large screen."),
    ("FIGURE", "jost", 600, 45, DIGITS, "runs", "The number on a small screen, and long numbers on a large one."),
    ("TITLE", "jost", 600, 32, WORDS, "packed", "Words a large screen says first. ASCII only."),
    ("HEAD", "jost", 600, 22, WORDS, "packed", "Words a small screen says first. ASCII only."),
    ("TEXT", "inter", 500, 16, LATIN, "packed", "Text on a large screen."),
    ("NOTE", "inter", 500, 13, LATIN, "packed", "Text on a small screen, and what matters less on a large one."),
]


def opened(folder, family, weight, size):
    font = TTFont(folder / f"{family}-latin-{weight}-normal.woff2")
    font.flavor = None
    plain = io.BytesIO()
    font.save(plain)
    plain.seek(0)
    return ImageFont.truetype(plain, size, layout_engine=ImageFont.Layout.BASIC), set(font.getBestCmap())


def drawn(face, letter, lower=0):
    """Coverage, left bearing, top (rows above the baseline) and advance of a letter."""
    left, top, right, bottom = face.getbbox(letter, anchor="ls")
    width, height = right - left, bottom - top
    image = Image.new("L", (max(width, 1), max(height, 1)))
    ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=face, anchor="ls")
    ink = image.getbbox()
    if ink is None:
        return [], 0, 0, round(face.getlength(letter))
    image = image.crop(ink)
    rows = [[(image.getpixel((x, y)) * 15 + 127) // 255 for x in range(image.width)] for y in range(image.height)]
    return rows, left + ink[0], -(top + ink[1]) - lower, round(face.getlength(letter))


def packed(rows):
    out = bytearray()
    for row in rows:
        row = row + [0] * (len(row) % 2)
        out += bytes(row[i] << 4 | row[i + 1] for i in range(0, len(row), 2))
    return out


def runs(rows):
    table, body = bytearray(), bytearray()
    for row in rows:
        table += struct.pack("<H", 2 * len(rows) + len(body))
        at = 0
        while at < len(row):
            n = 1
            while n < 16 and at + n < len(row) and row[at + n] == row[at]:
                n += 1
            body.append((n - 1) << 4 | row[at])
            at += n
    return table + body


def main():
    source = pathlib.Path(sys.argv[1])
    target = pathlib.Path(__file__).parent.parent / "src" / "font"
    out = [
        "// Made by fonts/generate.py from Jost and Inter, both under the SIL Open Font License 1.1. Do not edit.",
        "",
        "use super::{Coding, Font, Glyph};",
        "",
        "const fn g(letter: char, left: i8, top: i8, width: u8, height: u8, advance: u8, at: u16) -> Glyph {",
        "    Glyph { letter, left, top, width, height, advance, at }",
        "}",
    ]
    total = 0
    for name, family, weight, size, letters, coding, doc in FONTS:
        face, known = opened(source, family, weight, size)
        small, _ = opened(source, family, weight, size * 0.68)
        bits, glyphs = bytearray(), []
        for letter in sorted(set(letters)):
            if letter == "₂":
                rows, left, top, advance = drawn(small, "2", lower=round(size * 0.14))
            elif ord(letter) in known:
                rows, left, top, advance = drawn(face, letter)
            else:
                print(f"{name}: no {letter}", file=sys.stderr)
                continue
            width, height = (len(rows[0]), len(rows)) if rows else (0, 0)
            code = (runs if coding == "runs" else packed)(rows)
            glyphs.append((letter, left, top, width, height, advance, len(bits)))
            bits += code
        assert len(bits) < 65536
        (target / f"{name.lower()}.bits").write_bytes(bits)
        ascent = max(g[2] for g in glyphs)
        descent = max(g[4] - g[2] for g in glyphs)
        cap = next(g[2] for g in glyphs if g[0] in "0H")
        total += len(bits) + 12 * len(glyphs)
        print(f"{name}: {len(glyphs)} letters, {len(bits)} bytes, cap {cap}, ascent {ascent}, descent {descent}", file=sys.stderr)
        out += [
            "",
            f"/// {doc}",
            f"pub(crate) static {name}: Font = Font {{",
            f"    name: \"{name}\",",
            f"    cap: {cap},",
            f"    ascent: {ascent},",
            f"    descent: {max(descent, 0)},",
            f"    coding: Coding::{coding.capitalize()},",
            f"    bits: include_bytes!(\"{name.lower()}.bits\"),",
            "    glyphs: &[",
        ]
        for letter, *rest in glyphs:
            shown = {"'": "\\'", "\\": "\\\\"}.get(letter, letter)
            out.append(f"        g('{shown}', {', '.join(map(str, rest))}),")
        out += ["    ],", "};"]
    (target / "tables.rs").write_text("\n".join(out) + "\n")
    print(f"total {total} bytes with tables", file=sys.stderr)


main()
