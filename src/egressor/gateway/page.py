"""
The status page: three static files, and the headers that let it load nothing else.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILES", "HEADERS"]

_HERE = Path(__file__).parent
FILES = {
    "/": ("text/html", (_HERE / "page.html").read_bytes()),
    "/page.css": ("text/css", (_HERE / "page.css").read_bytes()),
    "/page.js": ("text/javascript", (_HERE / "page.js").read_bytes()),
}
"""
Content type and bytes, by the path below ``/-``.
"""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Server": "egressor",
}
"""
What goes with each of them.
"""
