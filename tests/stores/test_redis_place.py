"""
An address of a Redis server, and which limits one can hold.
"""

from __future__ import annotations

import pytest

from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding
from egressor.errors import ConfigError
from egressor.stores import StoreAway
from egressor.stores.redis import RedisStore
from egressor.stores.redis_place import Place
from egressor.stores.redis_words import refusal
from tests.stores.redis_scene import SECOND, granted, wanting

SECRET = "hunter2-very-secret"


@pytest.mark.parametrize(
    ("address", "kind", "hosts", "db", "master"),
    [
        ("redis://h", "single", [("h", 6379)], 0, ""),
        ("redis://", "single", [("localhost", 6379)], 0, ""),
        ("rediss://u:p%40@[::1]:1/15", "single", [("::1", 1)], 15, ""),
        ("redis+unix:///run/r%20s?db=2", "unix", [("/run/r s", 0)], 2, ""),
        ("redis+cluster://a,b:2/0", "cluster", [("a", 6379), ("b", 2)], 0, ""),
        ("rediss+sentinel://a,b:2/my/3", "sentinel", [("a", 26379), ("b", 2)], 3, "my"),
        ("redis+sentinel://a/my", "sentinel", [("a", 26379)], 0, "my"),
    ],
)
def test_an_address_is_read(address: str, kind: str, hosts: list[tuple[str, int]], db: int, master: str) -> None:
    """
    Each kind of address names its servers, its database, its master.
    """
    place = Place(address, {})

    assert (kind, hosts, db, master) == (place.kind, place.hosts, place.db, place.master)


def test_a_password_comes_from_the_address_or_the_environment() -> None:
    """
    One in the address goes first, then ours in the environment, then the one of redis-cli.
    """
    both = {"EGRESSOR_REDIS_PASSWORD": "ours", "REDISCLI_AUTH": "cli", "EGRESSOR_SENTINEL_PASSWORD": "s"}
    found = [
        Place("redis://u:p%2Fq@h", both),
        Place("redis://u@h", both),
        Place("redis://h", {"REDISCLI_AUTH": "cli"}),
        Place("redis://:p@h", {}),
    ]

    assert [(at.username, at.password) for at in found] == [("u", "p/q"), ("u", "ours"), (None, "cli"), (None, "p")]
    assert (found[0].sentinel_password, found[2].sentinel_password) == ("s", None)


@pytest.mark.parametrize(
    "address",
    [
        "http://h",
        "redis+x://h",
        "redis:h",
        f"redis://u:{SECRET}@h:x",
        f"redis://u:{SECRET}#1@h",
        f"redis://u:{SECRET}@h/x",
        f"redis://u:{SECRET}@h?password={SECRET}",
        f"redis://h?namespace={SECRET} {SECRET}",
        "redis://h:0",
        "redis://h:65536",
        "redis://a,b",
        "redis+cluster://a/1",
        "redis+sentinel://a",
        "redis+unix://h",
        "redis+unix://h/path",
        "redis://[::1",
        "redis://h?ssl_ca_certs=x",
        "rediss://h?ssl_check_hostname=perhaps",
    ],
)
def test_a_wrong_address_is_refused_and_not_repeated(address: str) -> None:
    """
    What can't be read is a `ConfigError` that shows nothing of it.
    """
    with pytest.raises(ConfigError) as caught:
        RedisStore(address)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (Gcra(amount=1, period=86_400 * SECOND, burst=10**9), "142 years"),
        (Gcra(amount=1 << 50, period=SECOND, burst=1), "2^47"),
        (Sliding(amount=10, period=64), "too short"),
        (Concurrency(amount=1 << 60), "2^52"),
    ],
)
def test_a_limit_beyond_doubles_is_refused(limit: Algorithm, says: str) -> None:
    """
    Where a script's numbers would not be exact, the limit is refused before anything is counted.
    """
    assert says in refusal(limit)
    with pytest.raises(StoreAway, match="can't be kept"):
        granted(RedisStore("redis://localhost:1"), wanting(limit=limit))


@pytest.mark.parametrize(
    "limit",
    [
        Gcra(amount=10**9, period=31 * 86_400 * SECOND, burst=10**9),
        Sliding(amount=10**12, period=SECOND),
        Sliding(amount=1, period=365 * 86_400 * SECOND),
        Fixed(amount=10**12, period=0, month=True, count=12),
        Concurrency(amount=10**9),
    ],
)
def test_a_large_limit_is_fine(limit: Algorithm) -> None:
    """
    Whatever a policy may sensibly say is kept.
    """
    assert refusal(limit) == ""
