"""
Make the picture of the demo from what it prints.

    egressor demo --seconds 20 | scripts/demo_picture.py > docs/images/demo.svg
"""

from __future__ import annotations

import re
import sys
from xml.sax.saxutils import escape

_CHARACTER = 8.43
_LINE = 19
_MARGIN = 20
_COLOURS = {"PASS": "#7ee787", "FAIL": "#ff7b72"}
_STYLE = "font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main() -> int:
    """
    Read the demo's output from standard input, and write the picture to standard output.
    """
    print(picture(sys.stdin.read()))
    return 0


def picture(text: str) -> str:
    """
    Return *text*, as a terminal shows it, as an SVG document.
    """
    lines = ["$ egressor demo --seconds 20", *text.rstrip().splitlines()]
    # The port is another one each time.
    lines = [re.sub(r"127\.0\.0\.1:[0-9]+", "127.0.0.1:8787", line) for line in lines]
    width = round(max(map(len, lines)) * _CHARACTER) + 2 * _MARGIN
    height = len(lines) * _LINE + 2 * _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>',
            f'<g style="{_STYLE}" fill="#e6edf3" xml:space="preserve">',
            *(_line(line, at=_MARGIN + (number + 1) * _LINE - 5) for number, line in enumerate(lines) if line),
            "</g>",
            "</svg>",
        ]
    )


def _line(line: str, *, at: int) -> str:
    word = line[:4]
    shown = escape(line)
    if word in _COLOURS:
        shown = f'<tspan fill="{_COLOURS[word]}">{word}</tspan>{escape(line[4:])}'
    return f'<text x="{_MARGIN}" y="{at}" xml:space="preserve">{shown}</text>'


if __name__ == "__main__":
    sys.exit(main())
