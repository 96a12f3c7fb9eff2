"""
Clients' keys: who asks, and what it may ask for.

Only the hash of a key stands in the configuration. Plain SHA-256 is enough, because a key is 256 random bits and not a
password: nobody can try them all. Looking a hash up in a table shows, at most, how an attacker's own hash begins, which
says nothing about a key; the final comparison takes the same time for all.

A client sends its key where its SDK sends one. It is removed before anything is forwarded, wherever it stands: what
goes upstream is the service's own key, or one that the client has sent beside it.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .headers import CREDENTIALS
from .problems import Problem, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from egressor.policies import ClientKey

    from .headers import Head

__all__ = ["PREFIX", "Keyring", "Turnstile", "admitted", "digest", "new_key", "password"]

PREFIX = "egr_"
_LONGEST = 512
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="egressor"'}


def new_key() -> str:
    """
    Return a new random key of 256 bits.
    """
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """
    Return what stands in the configuration for *key*: its SHA-256 in lower-case hexadecimal.
    """
    return sha256(key.encode()).hexdigest()


class Keyring:
    """
    The keys that the configuration knows.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[ClientKey]) -> None:
        self._keys = {key.sha256: key for key in keys}

    def __bool__(self) -> bool:
        """
        Whether a client needs a key.
        """
        return bool(self._keys)

    def owner(self, head: Head) -> tuple[ClientKey, str]:
        """
        Return whose key a request with *head* has brought, and the key.

        Raises:
            RefusedError: There is none that is known, or there are two.
        """
        found: dict[str, tuple[ClientKey, str]] = {}
        for text in _presented(head):
            mark = digest(text)
            mine = self._keys.get(mark)
            if mine is not None and compare_digest(mine.sha256, mark):
                found[mine.sha256] = mine, text
        if len(found) == 1:
            return found.popitem()[1]
        detail = "this gateway needs a client's key, in Authorization: Bearer … or where your SDK sends one"
        if found:
            detail = "two clients' keys were sent: send one"
        raise RefusedError(Problem(401, "client_key", "Not authorised", detail), dict(_CHALLENGE))


class Turnstile:
    """
    How many requests of each client are open.
    """

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def passing(self, mine: ClientKey) -> Iterator[None]:
        """
        Count a request of *mine* while the block lasts.

        Raises:
            RefusedError: It is one too many.
        """
        most = mine.max_in_flight
        if most is not None and self._open[mine.sha256] >= most:
            detail = f"the key {mine.name} has {most} requests open, which is its most"
            raise RefusedError(Problem(429, "key_busy", "Too many at a time", detail, retry_after=1.0))
        self._open[mine.sha256] += 1
        try:
            yield
        finally:
            self._open[mine.sha256] -= 1
            if not self._open[mine.sha256]:
                del self._open[mine.sha256]


def _presented(head: Head) -> list[str]:
    """
    Return what may be a client's key in *head*, without its scheme.
    """
    texts = [] if head.key is None else [head.key]
    for name, value in head.pairs:
        low = name.lower()
        if low == "authorization":
            scheme, _, rest = value.partition(" ")
            texts.append(password(rest) if scheme.lower() == "basic" else rest.strip() or value)
        elif low in CREDENTIALS:
            texts.append(value)
    return [text for text in texts if 0 < len(text) <= _LONGEST]


def admitted(head: Head, mine: ClientKey, key: str, service: str) -> Head:
    """
    Return *head* as the client of the key *mine* may send it: in its own name, to its own services, without the key.

    Raises:
        RefusedError: It may not.
    """
    if mine.services and service not in mine.services:
        names = ", ".join(mine.services)
        detail = f"the key {mine.name} is for {names}, and not for {service[:64]!r}"
        raise RefusedError(Problem(403, "not_this_service", "Not with this key", detail))
    scope = dict(head.scope)
    for name, own in (("user", mine.user), ("feature", mine.feature)):
        if own is not None and scope.setdefault(name, own) != own:
            detail = f"the key {mine.name} belongs to the {name} {own!r}, and Egressor-{name.title()} says another"
            raise RefusedError(Problem(403, "not_this_scope", "Not with this key", detail))
    pairs = [pair for pair in head.pairs if not _holds(pair, key)]
    return head._replace(scope=scope, pairs=pairs)


def _holds(pair: tuple[str, str], key: str) -> bool:
    """
    Whether *key* stands in *pair*, be it in the name, with escapes, or as a part of credentials in base64.
    """
    name, value = pair
    plain = unquote(unquote(value))
    # Four letters of base64 are three bytes: most words are too short to have it in them.
    least = len(key) * 4 / 3
    return (
        key.lower() in name.lower()
        or key in plain
        or (len(plain) >= least and any(key in _unpacked(word) for word in plain.split() if len(word) >= least))
    )


def _unpacked(word: str) -> str:
    try:
        return b64decode(word, validate=True).decode()
    except ValueError:
        return ""


def password(encoded: str) -> str:
    """
    Return the password of ``Basic`` credentials, or the user where there is no password; empty if they are none.
    """
    try:
        user, _, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return ""
    return password or user
