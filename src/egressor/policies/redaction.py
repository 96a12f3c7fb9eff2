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
    r"|session[-_.]id|(?:proxy|http)[-_.]auth"
    r"|(?<![A-Za-z])(?:pass|pwd|pw|jwt|hmac|otp|sid|csrf|xsrf|bearer))(?-i:(?![a-rt-z]))"
)
# Names of a query's or a form's parameters that mean something else in a sentence.
_PARAMETERS = r"key|sig|sign|auth|session|pin|assertion"
_STRING = r"[bru]{0,2}(?:\\{0,3}\"(?:[^\"\\]|\\(?!\").)*(?:\\?\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z))"
_QUOTE = r"\\{0,3}[\"']?"
_VALUE = r"[^\s&,;\"'<>(){}\]]"
_LINE = rf"((?:cookie2?|authorization){_QUOTE}\s{{0,8}}:\s{{0,8}})"
_WHOLE = rf"[\w.-]{{0,40}}?{_NAMES}[\w.-]{{0,40}}"
_NAMED = rf"({_NAMES}[\w.-]{{0,40}}{_QUOTE}\]?\s{{0,8}}(?:=>|[:=]|%3[AD])\s{{0,8}})"
# What follows an option, or a password's name, in a sentence about it.
_SPOKEN = (
    r"(?!(?:is|are|was|were|has|have|had|must|may|can|cannot|could|should|will|and|or|not|nor|in|of|on|to|for|from|with"
    r"|requires?|needs?|expects?|takes?|option|argument|flag|value|missing|given|twice|instead|but|if|when)[.,;:!?)]*(?:\s|\Z))"
)
_SENTENCE = (
    r"(\b(?:password|passwd|passphrase|passcode|pwd)\s{1,4}(?:(?:is|was)\s{1,4})?[\"']?)"
    r"(?=[^\s\"']{0,60}\d)(?=[^\s\"']{0,60}[A-Za-z])[^\s\"',;]{6,}"
)
_GONE = "\0"
_URL = re.compile(r"((?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s\"'<>`]+)")
_PART = re.compile(r"[^/?&=#;,@]+")
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), shown)
    for pattern, shown in (
        (r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", _GONE),
        # Up to the last "@" before the path. A database's password may hold a slash, and so may any that is no port.
        (r"(?<!http)(?<!https)(://)[^\s/?#@:\"'<>]{0,200}:[^\s\"'<>]{1,300}@", rf"\1{_GONE}@"),
        (r"(://)[^\s/?#\"'<>]+@", rf"\1{_GONE}@"),
        (r"(://)[^\s/?#@:\"'<>]{0,200}:(?!\d{1,5}[/?#])[^\s\"'<>]{1,300}@", rf"\1{_GONE}@"),
        # Names and values as pairs, as headers and the lists of commands are printed.
        (rf"([\"']-{{0,2}}{_WHOLE}[\"']\s{{0,4}},\s{{0,4}})(?:{_STRING})", rf"\1{_GONE}"),
        (rf"((?<![\w-])--{_WHOLE}[ \t]{{1,8}})(?!-){_SPOKEN}(?:(?:{_STRING})|[^\s\"',;]+)", rf"\1{_GONE}"),
        (
            rf"(<(?:[\w.-]{{1,40}}:)?{_WHOLE}(?:\s[^<>]{{0,200}})?>)(?:(?:<!\[CDATA\[)?[^<]{{1,2000}}(?=</)|[^<\s]{{1,200}}\Z)",
            rf"\1{_GONE}",
        ),
        # A sentence that says a password: it has a digit.
        (_SENTENCE, rf"\1{_GONE}"),
        # A cookie's and a credential's own syntax goes to the end of the line.
        (rf"{_LINE}[^\r\n]+", rf"\1{_GONE}"),
        (rf"{_NAMED}(?:(?:{_STRING}){_VALUE}*|{_VALUE}+)", rf"\1{_GONE}"),
        (rf"(?<![\w-])((?:{_PARAMETERS})(?:=|%3D))[^\s&;\"'<>()]+", rf"\1{_GONE}"),
        # A phrase has several words.
        (rf"(passphrase{_QUOTE}\s{{0,8}}[:=]\s{{0,8}})[^\s\"',;&()<>{{}}\]\[][^\r\n\"',;&()<>{{}}\]]*", rf"\1{_GONE}"),
    )
)
# Without one of these no rule can hold, and most texts have none.
_SIGN = re.compile(r"[:=]|%3|--|[\"']\s{0,4},|</?|pass|pwd|auth\(", re.IGNORECASE)
# What a name leads to may be a list, or a dictionary, in the notation of any language.
_OPEN = re.compile(
    rf"(?:{_NAMED[1:-1]}|(?<![A-Za-z])auth{_QUOTE}\s{{0,4}}[:=]\s{{0,4}}|(?:basic|digest|proxy)auth)(?=[\[({{])",
    re.IGNORECASE,
)
_BRACKET = re.compile(rf"(?P<open>[\[({{])|(?P<close>[\])}}])|{_STRING}", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rf"{_NAMES}|(?:\A|[-_.])auth\Z|\A(?:{_PARAMETERS})\Z", re.IGNORECASE)
_SHORT = 100
_PASSES = 5
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
    # What is hidden may bring together what stood around it: it is looked at until nothing changes.
    for _ in range(_PASSES):
        found = _hidden(text)
        if found == text:
            break
        text = found
    return text


def _hidden(text: str) -> str:
    # One character stands for what is hidden meanwhile, so that nothing takes it for a word.
    text = text.replace(_GONE, "?").replace(NOT_SHOWN, _GONE)
    pattern = _pattern[0]
    if pattern is not None:
        text = pattern.sub(_GONE, text)
    if _SIGN.search(text) is not None:
        text = _without_lists(text)
        for rule, shown in _RULES:
            text = rule.sub(shown, text)
    pieces = _URL.split(text)
    # Long as a whole, with all kinds of letters, a URL is no key; its parts may be.
    pieces[::2] = map(_looked_at, pieces[::2])
    pieces[1::2] = (_PART.sub(lambda part: _looked_at(part[0]), url) for url in pieces[1::2])
    return "".join(pieces).replace(_GONE, NOT_SHOWN)


def _without_lists(text: str) -> str:
    """
    Return *text* without what stands in brackets behind a secret's name, to the matching end.
    """
    pieces, done = [], 0
    for found in _OPEN.finditer(text):
        if found.start() < done:
            continue
        pieces += [text[done : found.end()], _GONE]
        depth, done = 0, len(text)
        for each in _BRACKET.finditer(text, found.end()):
            depth += (each.lastgroup == "open") - (each.lastgroup == "close")
            if not depth:
                done = each.end()
                break
    return "".join([*pieces, text[done:]])


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

    Of a known secret, which may have several words, no part is left.
    """
    if len(text) <= most:
        return text
    for secret in tuple(_known):
        at = text.find(secret, max(0, most - len(secret) + 1), most + len(secret) - 1)
        if 0 <= at < most:
            most = at
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
