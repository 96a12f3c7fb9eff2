"""
Many phrases looked for in one text, without reading the text once for each.

The text is cut into words once. A phrase is looked for only if its longest whole word is among them: nearly all phrases
are dismissed by one lookup in a set. The first word of a phrase must begin a word of the text, its last one may go on
("too many request" is found in "too many requests"); a phrase of one word is looked for as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Phrasebook", "plain", "words_of"]

T = TypeVar("T")

_KEPT: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_")
_TABLE: Final = bytes(code if code in _KEPT else 32 for code in range(256))


def plain(text: str) -> str:
    """
    Return *text* in lower case and ASCII, with typographic apostrophes and dots written as plain ones.
    """
    if text.isascii():
        return text.lower()
    simple = text.replace("\u2019", "'").replace("\u2026", "...")
    return simple.encode("ascii", "ignore").decode("ascii").lower()


def words_of(low: str) -> frozenset[bytes]:
    """
    Return the words of a `plain` text: runs of letters, digits and ``_``.
    """
    return frozenset(low.encode("ascii", "ignore").translate(_TABLE).split())


class _Entry(NamedTuple, Generic[T]):
    place: int
    phrases: tuple[str, ...]
    value: T


class Phrasebook(Generic[T]):
    """
    Phrases and what they mean.

    Args:
        rows: Phrases that must all be there, in `plain` form, and their value; in the order in which they are asked. A
            phrase that begins with ``title:`` is compared with the whole title instead.
    """

    __slots__ = ("_anchored", "_loose")

    def __init__(self, rows: Iterable[tuple[tuple[str, ...], T]]) -> None:
        self._anchored: dict[bytes, list[_Entry[T]]] = {}
        for place, (phrases, value) in enumerate(rows):
            self._anchored.setdefault(_anchor(phrases), []).append(_Entry(place, phrases, value))
        # Those that no word of a text rules out.
        self._loose = self._anchored.pop(b"", [])

    def find(self, low: str, words: frozenset[bytes], title: str = "") -> T | None:
        """
        Return the value of the first row whose phrases are all in *low*; None if there is none.

        Args:
            low: The text, in `plain` form.
            words: Its words, by `words_of`.
            title: Its title, for rows that ask for one.
        """
        entries = self._loose
        for word in self._anchored.keys() & words:
            entries = entries + self._anchored[word]
        if entries is not self._loose:
            entries.sort(key=_place)
        for _, phrases, value in entries:
            for phrase in phrases:
                if (phrase[6:] != title) if phrase.startswith("title:") else (phrase not in low):
                    break
            else:
                return value
        return None


def _place(entry: _Entry[T]) -> int:
    return entry.place


def _anchor(phrases: tuple[str, ...]) -> bytes:
    """
    Pick the rarest word that must stand whole in a text that holds *phrases*; empty if no word must.
    """
    whole: list[bytes] = []
    for phrase in phrases:
        # A title stands in the text, too; it may be written with entities, so that only its equality counts.
        if phrase.startswith("title:"):
            whole.append(b"title")
            continue
        found = phrase.encode("ascii").translate(_TABLE).split()
        # What ends in a letter may go on in the text.
        whole += found[:-1] if phrase[-1:].isalpha() else found
    # A number is rarer than any word.
    return max(whole, key=lambda word: (word.isdigit(), len(word)), default=b"")
