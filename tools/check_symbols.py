#!/usr/bin/env python3
"""The shared library exports exactly the functions that the public headers declare R2_API.

  check_symbols.py libr2lm.so [INCLUDE_DIR]
"""
import os, re, subprocess, sys


def declared(folder):
    names = set()
    for entry in sorted(os.listdir(folder)):
        text = re.sub(r"/\*.*?\*/", " ", open(os.path.join(folder, entry), encoding="utf-8").read(), flags=re.S)
        text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        names |= set(re.findall(r"\bR2_API\b[^;{]*?\b(\w+)\s*\(", text))
    return names


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in lines.splitlines() if line.split()[-2] not in "Aw"}


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = sys.argv[2] if len(sys.argv) > 2 else os.path.join(root, "include", "r2lm")
    said, there = declared(folder), exported(sys.argv[1])
    for name in sorted(said - there): print(f"{name}: declared R2_API in {folder}, not exported")
    for name in sorted(there - said): print(f"{name}: exported, not declared R2_API in {folder}")
    print(f"{len(there)} exported symbols, {len(said)} declared")
    return 0 if said == there and said else 1


if __name__ == "__main__":
    sys.exit(main())
