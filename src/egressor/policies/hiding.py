"""
What looks like a secret, and is therefore never repeated by a message.

A key is pasted in the wrong place sooner or later, and the error about it goes to a log. So a message shows what was
given only while it can't be a key. Nobody can tell a short password from a name; what can be told is how keys look:
they begin as their issuer's keys do, or they are long and mix letters with digits as no name does. To hide a strange
name now and then costs little, as an error names its file, line and key, too.
"""

from __future__ import annotations

import re

__all__ = ["NOT_SHOWN", "hide", "holds_secret"]

NOT_SHOWN = "(not shown: it may be a key)"

# Beginnings as issuers document them: OpenAI, Anthropic and Stripe, GitHub, GitLab, Slack, AWS, Google, Hugging Face,
# Groq, xAI, Replicate, npm, PyPI, Shopify, DigitalOcean; and of every JSON Web Token.
_BEGINNING = (
    r"(?:sk|pk|rk|whsec)[-_]|gh[opsur]_|github_pat_|gl[a-z]{2,4}-|xox[a-z]-|xapp-|A[KS]IA[0-9A-Z]|AIza|ya29|hf_|gsk_"
    r"|xai-|r8_|npm_|pypi-|shp[a-z]{2}_|do[opr]_v1_|eyJ"
)
# A scheme of an Authorization header takes the credential along that follows it.
_CREDENTIAL = re.compile(r"\b(?:bearer|basic)\s+[^\s\"'`]+", re.IGNORECASE)
_SCHEMES = ("bearer", "basic")
_WORD = re.compile(r"[^\s\"'`]{6,}")
_BREAKS = re.compile(r"[.,;:/?&=@()<>{}\[\]|]+")
_BEGINS = re.compile(rf"(?:\A|[.,;:/?&=@()<>{{}}\[\]|]){_BEGINNING}")
_HYPHENS = re.compile(r"[-_]+")
_SHORTEST_KEY = 6
_SHORTEST_RUN = 12
_SHORTEST_MIX = 8
_SHORTEST_CASES = 20
_SHORTEST_WHOLE = 32
_FEWEST_LETTERS = 10
# Exceptions have long names of both cases, and an error that hides what it is helps nobody.
_CLASS = r"(?:[A-Z]+[a-z]+)+"
_ENDINGS = ("Exception", "Error", "Fault", "Timeout", "Failure", "Warning")


def hide(text: str) -> str:
    """
    Return *text* with `NOT_SHOWN` in place of each word that looks like a key, a token or a long password.

    A word does if it follows ``Bearer``; if a part of it begins as the keys of a known issuer do; if a part of 12 or
    more characters holds letters mixed with digits, 8 or more of them without a hyphen, or 20 or more letters of both
    cases that are no exception's name, or 20 or more of one case with hardly a vowel; or if it has 32 or more
    characters, with capital letters, small ones and digits.
    """
    small = text.casefold()
    if any(map(small.__contains__, _SCHEMES)):
        text = _CREDENTIAL.sub(NOT_SHOWN, text)
    return _WORD.sub(_shown, text)


def holds_secret(text: str) -> bool:
    """
    Say whether a word of *text* looks like a secret, so that not even a part of it may be shown.
    """
    return hide(text) != text


def _shown(word: re.Match[str]) -> str:
    return NOT_SHOWN if _looks_secret(word[0]) else word[0]


def _looks_secret(word: str) -> bool:
    if (len(word) < _SHORTEST_RUN or (len(word) < _SHORTEST_CASES and word.isalpha())) and not _BEGINS.search(word):
        return False  # Most words.
    if len(word) >= _SHORTEST_WHOLE and _has(word, "a-z") and _has(word, "A-Z") and _has(word, "0-9"):
        return True
    return any(_is_key(part) for part in _BREAKS.split(word))


def _is_key(part: str) -> bool:
    if len(part) >= _SHORTEST_KEY and re.match(_BEGINNING, part):
        return True
    return len(part) >= _SHORTEST_RUN and any(_is_mixed(each) for each in _HYPHENS.split(part))


def _is_mixed(piece: str) -> bool:
    if len(piece) >= _SHORTEST_CASES and _has(piece, "a-z") and _has(piece, "A-Z"):
        return not piece.endswith(_ENDINGS) or re.fullmatch(_CLASS, piece) is None
    letters = re.sub("[^A-Za-z0-9]", "", piece)
    if len(letters) >= _SHORTEST_CASES and letters.isalpha() and _is_noise(letters.lower()):
        return True
    return len(piece) >= _SHORTEST_MIX and _has(piece, "A-Za-z") and _has(piece, "0-9")


def _is_noise(letters: str) -> bool:
    # A third and more of a word's letters are vowels; of dice's, a fifth. And "aaaaaaaa" is no secret.
    vowels = sum(map(letters.count, "aeiou"))
    return 4 * vowels < len(letters) and len(set(letters)) >= _FEWEST_LETTERS


def _has(text: str, kind: str) -> bool:
    return re.search(f"[{kind}]", text) is not None
