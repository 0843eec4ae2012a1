#!/usr/bin/env python3
"""Writes src/text/nfc_tables.c: code points that NFC may change or combine with what is before them.

  make_nfc_table.py > src/text/nfc_tables.c
"""
import unicodedata

def seconds():
    found = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))        # Hangul vowels and finals
    for c in range(0x110000):
        d = unicodedata.decomposition(chr(c))
        if d and not d.startswith("<") and len(d.split()) == 2: found.add(int(d.split()[1], 16))
    return found

def main():
    second = seconds()
    unsafe = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and (c in second or unicodedata.combining(chr(c)) or unicodedata.normalize("NFC", chr(c)) != chr(c))]
    ranges = []
    for c in unsafe:
        if ranges and ranges[-1][1] == c - 1: ranges[-1][1] = c
        else: ranges.append([c, c])
    print("/* Made by tools/make_nfc_table.py from Unicode %s; do not edit. */" % unicodedata.unidata_version)
    print('#include "text/nfc_tables.h"\n\nconst r2i_nfc_range r2i_nfc_ranges[] = {')
    for i in range(0, len(ranges), 4):
        print("    " + " ".join("{ 0x%x, 0x%x }," % tuple(r) for r in ranges[i:i + 4]))
    print("};\nconst size_t r2i_n_nfc_ranges = sizeof r2i_nfc_ranges / sizeof *r2i_nfc_ranges;")

main()
