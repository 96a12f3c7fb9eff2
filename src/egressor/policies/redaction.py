"""
What is written down of strangers' words: error messages, URLs, headers and bodies, without the secrets in them.

`hide` knows how keys look. A password looks like nothing; but it stands behind its name. So here a value is hidden for
where it stands, too: behind a name such as ``password`` or ``X-Api-Key`` in a query, a header, JSON or a program's own
notation; as the user of a URL; in a cookie; between the lines of a PEM file. And whatever the environment or a key
file of this process holds as a secret is hidden wherever it turns up, whatever it looks like.

Each pattern begins at the beginning of a word and looks no further than a bounded name, so that no text is slow.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from egressor.policies.hiding import NOT_SHOWN, hide

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["cut", "is_secret_name", "learn", "learn_environment", "redact"]

# Names whose value is a secret wherever they stand, as a part of another name too; "tokens" are counted, and "key"
# alone is a word as any other. The short ones stand alone or behind a joint: a compass is no password.
_NAMES = (
    r"(?:password|passwd|passphrase|passcode|secret|token(?!s)|apikey|signature|credential|authorization|cookie|sessionid"
    r"|(?:api|access|secret|private|signing|session|client|auth|master|shared|account|encryption|subscription)[-_.]?key"
    r"|session[-_.]id|(?<![A-Za-z])(?:pass|pwd|jwt|hmac|otp|sid|csrf|xsrf|bearer))(?-i:(?![a-rt-z]))"
)
# Names of a query's or a form's parameters that mean something else in a sentence.
_PARAMETERS = r"key|sig|sign|auth|session|pin|assertion"
_STRING = r"\\{0,3}\"(?:[^\"\\]|\\(?!\").)*(?:\\?\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)"
_QUOTE = r"\\{0,3}[\"']?"
_VALUE = r"[^\s&,;\"'<>(){}\]]"
_LINE = rf"((?:cookie2?|authorization){_QUOTE}\s{{0,8}}:\s{{0,8}})"
_NAMED = rf"({_NAMES}[\w.-]{{0,40}}{_QUOTE}\]?\s{{0,8}}(?:=>|[:=]|%3[AD])\s{{0,8}})"
_GONE = "\0"
_URL = re.compile(r"((?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s\"'<>`]+)")
_PART = re.compile(r"[^/?&=#;,@]+")
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), shown)
    for pattern, shown in (
        (r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", _GONE),
        (r"(://)[^\s/?#@\"'<>]+@", rf"\1{_GONE}@"),
        # A cookie's and a credential's own syntax goes to the end of the line.
        (rf"{_LINE}[^\r\n]+", rf"\1{_GONE}"),
        (rf"{_NAMED}(?:(?:{_STRING}){_VALUE}*|{_VALUE}+)", rf"\1{_GONE}"),
        (rf"(?<![\w-])((?:{_PARAMETERS})(?:=|%3D))[^\s&;\"'<>()]+", rf"\1{_GONE}"),
    )
)
# Without one of these no rule can hold, and most texts have none.
_SIGNS = (":", "=", "%3", "-----")
_NAME = re.compile(rf"{_NAMES}|\A(?:{_PARAMETERS})\Z", re.IGNORECASE)
_SHORT = 100
_SHORTEST_KNOWN = 6
_LONGEST_WORD = 12
# A variable that says where a secret is holds none.
_PLACE = re.compile(r"(?:dir|file|path|sock|url|uri|host|user|name)\Z", re.IGNORECASE)
_MOST_KNOWN = 1_000
_known: set[str] = set()
_pattern: list[re.Pattern[str] | None] = [None]


def redact(text: str) -> str:
    """
    Return *text* with `NOT_SHOWN` in place of whatever is a secret by its place, its look, or by being known.
    """
    return _remembered(text) if len(text) <= _SHORT else _redacted(text)


# Names of services, endpoints, types and fields come again and again.
@lru_cache(maxsize=2_048)
def _remembered(text: str) -> str:
    return _redacted(text)


def _redacted(text: str) -> str:
    # One character stands for what is hidden meanwhile, so that nothing takes it for a word.
    text = text.replace(_GONE, "?").replace(NOT_SHOWN, _GONE)
    pattern = _pattern[0]
    if pattern is not None:
        text = pattern.sub(_GONE, text)
    if any(sign in text for sign in _SIGNS):
        for rule, shown in _RULES:
            text = rule.sub(shown, text)
    pieces = _URL.split(text)
    # Long as a whole, with all kinds of letters, a URL is no key; its parts may be.
    pieces[::2] = map(_looked_at, pieces[::2])
    pieces[1::2] = (_PART.sub(lambda part: _looked_at(part[0]), url) for url in pieces[1::2])
    return "".join(pieces).replace(_GONE, NOT_SHOWN)


def _looked_at(text: str) -> str:
    return hide(text).replace(NOT_SHOWN, _GONE)


def is_secret_name(name: str) -> bool:
    """
    Whether what is called *name* is a secret, whatever it looks like.
    """
    return _NAME.search(name[:200]) is not None


def cut(text: str, most: int) -> str:
    """
    Return the first *most* characters of *text*, up to the last whole word: half a secret looks like none.
    """
    if len(text) <= most:
        return text
    head = text[:most]
    whole = re.sub(r"\S+\Z", "", head)
    return whole or head


def learn(secret: str) -> None:
    """
    Hide *secret* from now on wherever it turns up.

    One of fewer than 6 characters, or of fewer than 12 letters and nothing else, is none: it would hide words.
    """
    secret = secret.strip()
    is_word = len(secret) < _SHORTEST_KNOWN or (secret.isalpha() and len(secret) < _LONGEST_WORD)
    if is_word or secret in _known or len(_known) >= _MOST_KNOWN:
        return
    _known.add(secret)
    # The longest first: one may begin with another.
    _pattern[0] = re.compile("|".join(map(re.escape, sorted(_known, key=len, reverse=True))))
    _remembered.cache_clear()


def learn_environment(environment: Mapping[str, str] | None = None) -> None:
    """
    Hide the values of those variables of *environment*, this process's own by default, that are called secrets.
    """
    for name, value in (os.environ if environment is None else environment).items():
        if is_secret_name(name) and _PLACE.search(name) is None:
            learn(value)
