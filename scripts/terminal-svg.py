#!/usr/bin/env python3
"""Draws what a command prints in colour as an SVG picture: terminal-svg.py TITLE < coloured-text > picture.svg

Used for the pictures in README.md: `make pictures`. Knows the colours that holdback uses, in light and dark."""
import html
import re
import sys
import unicodedata

WIDTH, LINE, LEFT, TOP = 8.43, 20, 20, 56
CLASSES = {"1": "bold", "2": "dim", "31": "bad", "32": "good", "36": "name"}
STYLE = """
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#24292f;white-space:pre}
.frame{fill:#fff;stroke:#d0d7de}.bold{font-weight:600}.dim{fill:#6e7781}.bad{fill:#b35900}.good{fill:#0550ae}.name{fill:#1b7c83}
.title{fill:#6e7781;text-anchor:middle}.dot{fill:#d0d7de}
@media(prefers-color-scheme:dark){text{fill:#d1d7e0}.frame{fill:#161b22;stroke:#3d444d}.dim,.title{fill:#9198a1}
.bad{fill:#f0883e}.good{fill:#79c0ff}.name{fill:#56d4dd}.dot{fill:#3d444d}}
"""


def cells(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def spans(line):
    out, look = [], None
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", piece)
        if code:
            look = CLASSES.get(code.group(1))
        elif piece:
            text = html.escape(piece, quote=False)
            out.append(f'<tspan class="{look}">{text}</tspan>' if look else text)
    return "".join(out)


def main():
    title = html.escape(sys.argv[1]) if len(sys.argv) > 1 else ""
    lines = sys.stdin.read().rstrip("\n").split("\n")
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = max(60, max(cells(line) for line in plain)) * WIDTH + 2 * LEFT
    height = TOP + len(lines) * LINE + 12
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img">')
    print(f"<title>{title}</title><style>{STYLE}</style>")
    print(f'<rect class="frame" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1}" rx="10"/>')
    for at in (20, 40, 60):
        print(f'<circle class="dot" cx="{at}" cy="22" r="6"/>')
    print(f'<text class="title" x="{width / 2:.0f}" y="27">{title}</text>')
    for number, line in enumerate(lines):
        print(f'<text x="{LEFT}" y="{TOP + number * LINE}" xml:space="preserve">{spans(line)}</text>')
    print("</svg>")


main()
