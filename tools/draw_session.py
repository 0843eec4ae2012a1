#!/usr/bin/env python3
"""Runs the commands of the README's picture and writes docs/session.svg from what they print.

  draw_session.py [BUILD_FOLDER]      (default build; needs both test models: tools/fetch_models.sh smollm2 qwen05)
"""
import html, os, subprocess, sys, textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = (
    'r2lm run --temp 0 -p "What is the capital of France?"',
    'r2lm run -m qwen2.5 --temp 0 "What does this code do? One sentence." < src/base/clock.c',
    'r2lm tokenize --json -p "Hello, world"',
    'r2lm show qwen2.5',
    'r2lm run --tmp 0 -p Hello',
)
COLUMNS, FONT, LINE, LEFT, TOP = 116, 13, 19, 16, 30
PROMPT, TEXT, BACK = "#7fd1b9", "#d8dee9", "#1e222a"


def run(command, build):
    """What the command prints, both streams in order, the home folder written as ~."""
    env = dict(os.environ, PATH=build + os.pathsep + os.environ["PATH"])
    done = subprocess.run(command, shell=True, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode().replace(os.path.expanduser("~"), "~").rstrip("\n")
    return [part for line in text.split("\n") for part in textwrap.wrap(line, COLUMNS, replace_whitespace=False) or [""]]


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build"))
    lines = []
    for command in COMMANDS:
        lines += [(PROMPT, "$ " + command)] + [(TEXT, line) for line in run(command, build)] + [(TEXT, "")]
    width, height = int(COLUMNS * FONT * 0.605) + 2 * LEFT, TOP + LINE * len(lines)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
           f'<rect width="{width}" height="{height}" rx="8" fill="{BACK}"/>',
           f'<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT}" xml:space="preserve">']
    for i, (colour, line) in enumerate(lines):
        if line: out.append(f'<text x="{LEFT}" y="{TOP + i * LINE}" fill="{colour}">{html.escape(line)}</text>')
    with open(os.path.join(ROOT, "docs", "session.svg"), "w", encoding="utf-8") as to:
        to.write("\n".join(out + ["</g>", "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
