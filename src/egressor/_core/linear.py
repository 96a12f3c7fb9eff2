r"""
Regular expressions that can't hang: matched by states and never by trying again.

Python's own engine backtracks, so that ``(a+)+$`` on thirty letters takes minutes, and no look at a pattern tells all
of those that do. Here a pattern becomes a small machine, and a text is read once, letter by letter, with the set of
places at which the machine may be (Thompson 1968; RE2 does the same). The work is at most letters times places, and
both are bounded. What needs memory of the past, back-references and look-arounds, can't be written.

Syntax: letters, ``.``, ``[a-z]``, ``[^…]``, ``\d \w \s`` and their opposites, ``( )``, ``|``, ``* + ?``, ``{m}``,
``{m,n}``, ``{m,}``, ``^`` and ``$``. Letters match in either case.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Linear", "PatternError"]

_LENGTH: Final = 256
_PLACES: Final = 512
_CACHED: Final = 1024
_REPEATS: Final = 64
_DIGITS: Final = frozenset("0123456789")
_WORDS: Final = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz_")
_SPACES: Final = frozenset(" \t\r\n\f\v")
_SHORT: Final = {"d": _DIGITS, "w": _WORDS, "s": _SPACES}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


class PatternError(ValueError):
    """
    A pattern that can't be read, or that is too big.
    """


class _Letters(NamedTuple):
    """
    A set of letters, or all but them.
    """

    some: frozenset[str]
    is_not: bool = False

    def has(self, letter: str) -> bool:
        return (letter in self.some) is not self.is_not


# A place of the machine: it reads one letter and goes on, or goes on in two ways, or asks for the text's begin or end.
_Place = tuple[str, object, int, int]


class Linear:
    """
    A compiled pattern.

    Args:
        pattern: At most 256 characters.

    Raises:
        PatternError: It can't be read, or needs more than 512 places.
    """

    __slots__ = ("_at", "_known", "_places", "_start", "pattern")

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _LENGTH:
            msg = f"{len(pattern)} characters, at most {_LENGTH}"
            raise PatternError(msg)
        self.pattern = pattern
        self._at = 0
        self._places: list[_Place] = []
        end = self._add("accept", None, -1, -1)
        self._start = self._either(end)
        if self._at < len(pattern):
            msg = f"an unopened ) at character {self._at + 1}"
            raise PatternError(msg)
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def search(self, text: str) -> bool:
        """
        Whether the pattern is found anywhere in *text*.
        """
        low = text.lower()
        here = self._closed({self._start}, is_begin=True, is_end=not low)
        last = len(low) - 1
        for position, letter in enumerate(low):
            if 0 in here:
                return True
            if position == last:
                return 0 in self._step(here, letter, is_end=True)
            here = self._next(here, letter)
        return 0 in here

    def _next(self, here: frozenset[int], letter: str) -> frozenset[int]:
        known = self._known.get((here, letter))
        if known is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            known = self._known[here, letter] = self._step(here, letter, is_end=False)
        return known

    def _step(self, here: frozenset[int], letter: str, *, is_end: bool) -> frozenset[int]:
        gone = {self._start}
        for place in here:
            kind, letters, after, _ = self._places[place]
            if kind == "letter" and isinstance(letters, _Letters) and letters.has(letter):
                gone.add(after)
        return self._closed(gone, is_begin=False, is_end=is_end)

    def _closed(self, places: set[int], *, is_begin: bool, is_end: bool) -> frozenset[int]:
        """
        Add all places that are reached without reading a letter.
        """
        waiting, seen = list(places), set(places)
        while waiting:
            kind, _, one, other = self._places[waiting.pop()]
            is_open = kind == "split" or (kind == "begin" and is_begin) or (kind == "end" and is_end)
            for after in (one, other) if is_open else ():
                if after >= 0 and after not in seen:
                    seen.add(after)
                    waiting.append(after)
        return frozenset(seen)

    def _add(self, kind: str, letters: object, one: int, other: int) -> int:
        if len(self._places) >= _PLACES:
            msg = f"it needs more than {_PLACES} places: repeat less"
            raise PatternError(msg)
        self._places.append((kind, letters, one, other))
        return len(self._places) - 1

    # The parser builds from the right: each piece is told where it goes on. A piece that repeats is built once for each
    # time, from the same characters.

    def _either(self, after: int) -> int:
        found = self._row(after)
        while self._peek() == "|":
            self._at += 1
            found = self._add("split", None, found, self._row(after))
        return found

    def _row(self, after: int) -> int:
        pieces: list[tuple[int, int, int, int]] = []
        while self._peek() not in {"", "|", ")"}:
            begin = self._at
            self._skip()
            end = self._at
            least, most = self._times()
            pieces.append((begin, end, least, most))
        back = self._at
        for begin, _, least, most in reversed(pieces):
            after = self._repeated(begin, least, most, after)
        self._at = back
        return after

    def _skip(self) -> None:
        """
        Step over one piece without building it.
        """
        first = self._take()
        if first in "*+?{":
            msg = f"nothing to repeat at character {self._at}"
            raise PatternError(msg)
        if first == "\\":
            self._take()
        elif first == "[":
            self._letters()
        elif first == "(":
            self._open()
            depth = 1
            while depth:
                inner = self._take()
                if inner == "\\":
                    self._take()
                elif inner == "[":
                    self._letters()
                depth += (inner == "(") - (inner == ")")

    def _open(self) -> None:
        # (?:…) is a group; all other (?…) need memory of the past.
        if self._peek() == "?":
            if self.pattern[self._at : self._at + 2] != "?:":
                msg = f"(?{self.pattern[self._at + 1 : self._at + 2]} at character {self._at}: only (?: is possible"
                raise PatternError(msg)
            self._at += 2

    def _repeated(self, begin: int, least: int, most: int, after: int) -> int:
        if most < 0:
            loop = self._add("split", None, -1, after)
            body = self._piece(begin, loop)
            self._places[loop] = ("split", None, body, after)
            after = loop
        else:
            for _ in range(most - least):
                after = self._add("split", None, self._piece(begin, after), after)
        for _ in range(least):
            after = self._piece(begin, after)
        return after

    def _piece(self, begin: int, after: int) -> int:
        self._at = begin
        first = self._take()
        if first == "(":
            self._open()
            found = self._either(after)
            # It is closed: _skip has been here.
            self._at += 1
            return found
        if first in "^$":
            return self._add("begin" if first == "^" else "end", None, after, -1)
        if first == "[":
            return self._add("letter", self._letters(), after, -1)
        if first == "\\":
            return self._add("letter", self._escaped(), after, -1)
        some = _Letters(frozenset("\n"), is_not=True) if first == "." else _Letters(frozenset(first.lower()))
        return self._add("letter", some, after, -1)

    def _escaped(self) -> _Letters:
        letter = self._take()
        if letter.lower() in _SHORT:
            return _Letters(_SHORT[letter.lower()], is_not=letter.isupper())
        if letter.isalnum() and letter not in _ESCAPES:
            msg = f"\\{letter} at character {self._at}: it can't be matched in linear time, or isn't known"
            raise PatternError(msg)
        return _Letters(frozenset(_ESCAPES.get(letter, letter)))

    def _letters(self) -> _Letters:
        is_not = self._peek() == "^"
        self._at += is_not
        some: set[str] = set()
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            letter = self._take()
            if letter == "\\":
                inner = self._escaped()
                if inner.is_not:
                    msg = "an opposite class inside of [ ]"
                    raise PatternError(msg)
                some |= inner.some
            elif self._peek() == "-" and self.pattern[self._at + 1 : self._at + 2] not in {"", "]"}:
                self._at += 1
                last = self._take()
                if not letter <= last or ord(last) - ord(letter) > _PLACES:
                    msg = f"a range {letter}-{last}"
                    raise PatternError(msg)
                some |= {chr(code).lower() for code in range(ord(letter), ord(last) + 1)}
            else:
                some.add(letter.lower())
        self._at += 1
        return _Letters(frozenset(some), is_not)

    def _times(self) -> tuple[int, int]:
        sign = self._peek()
        known = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}.get(sign)
        if known is not None:
            self._at += 1
        elif sign == "{":
            known = self._counted()
        if known is not None and self._peek() in {"*", "+", "?", "{"}:
            msg = f"two repetitions at character {self._at + 1}"
            raise PatternError(msg)
        return known or (1, 1)

    def _counted(self) -> tuple[int, int]:
        inner, closed, _ = self.pattern[self._at + 1 :].partition("}")
        low, comma, high = inner.partition(",")
        numbers = [each for each in (low, high) if each]
        if not closed or not low or not all(each.isascii() and each.isdigit() and len(each) < 4 for each in numbers):
            msg = f"{{{inner[:16]}}} at character {self._at + 1}"
            raise PatternError(msg)
        least = int(low)
        most = int(high) if high else (-1 if comma else least)
        if least > _REPEATS or most > _REPEATS or -1 < most < least:
            msg = f"{{{inner}}}: at most {_REPEATS} times, and the second not below the first"
            raise PatternError(msg)
        self._at += len(inner) + 2
        return least, most

    def _peek(self) -> str:
        return self.pattern[self._at : self._at + 1]

    def _take(self) -> str:
        letter = self._peek()
        if not letter:
            msg = "it ends too early"
            raise PatternError(msg)
        self._at += 1
        return letter
