"""
Where each service is, and which key goes there: made from the configuration, all or nothing.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yarl import URL

from egressor._core.tokens import TOKENS
from egressor.dialects.paths import plain
from egressor.errors import ConfigError
from egressor.governor.money import PRICED, may_ask_models
from egressor.policies.redaction import learn

from .dialling import Place
from .guard import check_open
from .headers import CREDENTIALS
from .workers import check_shareable

if TYPE_CHECKING:
    from egressor.policies import Config, Policy, Secret
    from egressor.policies.patterns import ErrorPattern

__all__ = ["Origin", "origins", "refusals"]

_LONGEST_KEY = 16_384
# Where a service of each dialect takes its key, and what stands before it.
_CREDENTIALS = {"anthropic": ("x-api-key", ""), "gemini": ("x-goog-api-key", "")}


class Origin(NamedTuple):
    """
    One service's upstream.

    Attributes:
        service: The service's name.
        base_url: Scheme, host, port and path prefix, without a slash at the end.
        dialect: Whose bodies it speaks.
        learns: Whether what its headers say of limits is read.
        patterns: What its policy says of errors.
        timeout: Seconds that it may be silent.
        endpoints: Names of its endpoints, longest first.
        credential: The header that carries its key, and the value; None where the client's own goes through.
        place: The host and port.
        reads: Whether its requests' bodies have to be read: for money, tokens, a model's rule or a cache.
    """

    service: str
    base_url: str
    dialect: str
    learns: bool
    patterns: tuple[ErrorPattern, ...]
    timeout: float
    endpoints: tuple[str, ...]
    credential: tuple[str, str] | None
    place: Place
    reads: bool = False

    def __repr__(self) -> str:
        return f"Origin({self.service!r}, {self.base_url!r})"

    def signed(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """
        Return *pairs* with this origin's key in place of whatever the client has sent.
        """
        if self.credential is None:
            return pairs
        return [*(pair for pair in pairs if pair[0].lower() not in CREDENTIALS), self.credential]

    def endpoint(self, path: str) -> str | None:
        """
        Return the endpoint that *path* ends with, however it is written, if the policy names one.
        """
        if not self.endpoints:
            return None
        path = plain(path)
        low = path.lower()
        found = [name for name in self.endpoints if low.endswith(plain("/" + name).lower())]
        # Where two differ by their letters' case alone, it counts.
        return max(found, key=lambda name: (len(name), path.endswith(name)), default=None)


def origins(config: Config) -> dict[str, Origin]:
    """
    Return the upstreams of the services that have a base URL, with their keys read.

    Raises:
        ConfigError: A key can't be read, or an address can't be dialled.
    """
    return {
        name: _origin(name, policy, policy.base_url)
        for name, policy in config.services.items()
        if policy.base_url is not None
    }


def refusals(config: Config) -> list[ConfigError]:
    """
    Return why ``egressor serve`` would not start with *config* in this environment: all that `origins` would raise, and
    what it checks of its address and its workers.
    """
    found = []
    for check in (partial(check_open, config.gateway.host), partial(check_shareable, config.gateway.workers)):
        try:
            check(config)
        except ConfigError as error:
            found.append(error)
    for name, policy in config.services.items():
        try:
            if policy.base_url is not None:
                _origin(name, policy, policy.base_url)
        except ConfigError as error:
            found.append(error)
    return found


def _origin(name: str, policy: Policy, base_url: str) -> Origin:
    credential = None
    if policy.api_key is not None:
        key = _key(name, policy.api_key)
        name_of, before = _CREDENTIALS.get(policy.dialect, ("Authorization", "Bearer "))
        credential = (name_of, before + key)
    endpoints = tuple(sorted(policy.endpoints, key=lambda each: (-len(each), each)))
    place = _place(base_url, is_private=policy.private)
    if (fault := place.fault()) is not None:
        raise ConfigError(fault, key=f"services.{name}.base_url")
    for position, rule in enumerate(policy.rules):
        if rule.match.get("endpoint") == "*":
            message = (
                "the gateway knows the endpoints that rules name, and '*' would match none of its requests: name them"
            )
            raise ConfigError(message, key=f"services.{name}.rules[{position}].match.endpoint")
    learns = policy.learn != "off"
    return Origin(
        name,
        base_url,
        policy.dialect,
        learns,
        policy.errors,
        policy.timeout,
        endpoints,
        credential,
        place,
        _reads(policy),
    )


def _reads(policy: Policy) -> bool:
    limits = [*policy.limits, *(limit for rule in policy.rules for limit in rule.limits)]
    is_told_apart = policy.has_budgets or any("model" in rule.match for rule in policy.rules)
    is_priced = policy.dialect in PRICED and is_told_apart
    is_kept = policy.cache is not None and may_ask_models(policy)
    return is_priced or is_kept or any(limit.unit in TOKENS for limit in limits)


def _place(base_url: str, *, is_private: bool) -> Place:
    url = URL(base_url, encoded=True)
    return Place((url.raw_host or "").lower().rstrip("."), url.port or 0, is_private)


def _key(service: str, secret: Secret) -> str:
    where = f"services.{service}.api_key"
    if secret.env is not None:
        key = os.environ.get(secret.env, "")
        source = f"the environment variable {secret.env}"
    else:
        source = f"the {secret.shown}"
        try:
            key = Path(str(secret.file)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"{source} can't be read: {getattr(error, 'strerror', None) or type(error).__name__}"
            raise ConfigError(message, key=where) from None
    key = key.strip()
    if not key:
        message = f"{source} is empty or not set"
        raise ConfigError(message, key=where)
    # What the key is stays unsaid.
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        message = f"{source} holds no key: it has blanks, control characters or more than {_LONGEST_KEY} characters"
        raise ConfigError(message, key=where)
    learn(key)
    return key
