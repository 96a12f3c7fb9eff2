"""
Which errors are one: the name of a group.

Two errors are of one group if the same rule decided about the same type of error, at the same endpoint and place of the
program, and their messages differ only in what differs from one occurrence to the next: numbers, ids, addresses, what
stands in quotes. Sentry groups by type, value and stack in this way; one frame stands for the stack here, since calls
come through many.

A name is three words of four hexadecimal digits: short enough to type, and nothing that looks like a key.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

__all__ = ["FORM", "READ", "fingerprint", "normalised"]

FORM: Final = r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}"
"""
What a group's name looks like.
"""

READ: Final = 512
"""
Characters of a message that count.
"""

_KEPT: Final = 200
# In one pass, the longest forms first; none of them can backtrack over more than a word.
_VARIES: Final = re.compile(
    r"""
    (?P<url>(?<![a-z0-9])[a-z][a-z0-9+.]{1,15}://[^\s"'<>]+)
    |(?P<text>"[^"\n]*"|(?<!\w)'[^'\n]*'(?!\w)|`[^`\n]*`)
    |(?P<mail>(?<![\w.+-])[\w.+-]{1,64}@[\w.-]+)
    |(?P<id>0x[0-9a-f]+|(?<![\w-])(?=[\w-]{0,80}\d)(?=[\w-]{0,80}[a-z])[\w-]{12,}|(?<!\w)(?=[0-9a-f]{0,80}\d)[0-9a-f]{8,}(?!\w))
    |(?P<n>\d+(?:[.,:/-]\d+)*)
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def normalised(text: str) -> str:
    """
    Return *text* with a word for each part that differs between occurrences: ``<url>``, ``<text>``, ``<mail>``,
    ``<id>``, ``<n>``; its first 512 characters count, and 200 are kept.
    """
    return " ".join(_VARIES.sub(lambda found: f"<{found.lastgroup}>", text[:READ]).split())[:_KEPT]


def fingerprint(*parts: str) -> str:
    """
    Return the name of the group that *parts* belong to: the same parts have the same name, on every machine.
    """
    told = "\0".join(parts).encode("utf-8", "replace")
    digits = blake2b(told, digest_size=6).hexdigest()
    return f"{digits[:4]}-{digits[4:8]}-{digits[8:]}"
