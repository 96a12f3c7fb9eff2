"""
Addresses of stores: what passes is one for the store, and what doesn't is told without a word of it.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor import ConfigError
from egressor.policies import Config
from egressor.stores.redis_place import Place

GOOD = [
    "redis://host",
    "redis://host:6379/0",
    "redis://[::1]:6379/15",
    "redis://10.0.0.1?namespace=staging",
    "redis://worker@redis.example:6380",
    "rediss://worker@redis.example:6380/2?ssl_ca_certs=/etc/ssl/ca.pem&ssl_check_hostname=no",
    "redis+cluster://a:7000,b:7001,c",
    "rediss+cluster://a:7000/0?ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
    "redis+sentinel://a:26379,b:26379/main/3",
    "rediss+sentinel://a/main",
    "redis+unix:///run/redis.sock",
    "redis+unix:///run/redis.sock?db=3&namespace=x",
]
BAD = [
    ("redis://", None, "the name or the port of its host can't be read"),
    ("redis://host:99999", None, "the name or the port of its host can't be read"),
    ("redis://a b", None, "it can't be read"),
    ("redis://host#x", None, "it can't be read"),
    ("redis://a,b", None, "redis+cluster:// and redis+sentinel:// may"),
    ("redis://host/main", None, "its database is no number"),
    ("redis+cluster://host/1", None, "a cluster has no database but 0"),
    ("redis+sentinel://host", None, "what the sentinels call the master"),
    ("redis+unix://run/redis.sock", None, "it names no socket"),
    ("redis://host?namspace=x", "namespace", "may not stand here"),
    ("redis://host?namespace=a/b", None, "its namespace can't be read"),
    ("redis://host?db=1", None, "may not stand here"),
    ("redis://host?ssl_ca_certs=/ca.pem", None, "those that may: namespace"),
    ("rediss://host?ssl_check_hostname=maybe", None, "its ssl_check_hostname can't be read"),
    ("redis:/host", "redis://", "is no address"),
    ("reddis://host", "redis://", '"reddis" is no address'),
    ("redis+clusters://host", "redis+cluster://", "is no address"),
    ("redis+sentinels://a/b", "redis+sentinel://", "is no address"),
    ("sqlite://store.db", "sqlite:///", "is no address"),
    ("sqlit:///store.db", "sqlite:///", "is no address"),
    ("sqlite:///", None, "it names no file"),
    ("sqlite:///:memory:", None, "it names no file"),
    ("sqlite:///a.db?mode=ro", None, "it names no file"),
    ("memory", "memory:", "is no address"),
    ("postgresql://host/db", None, '"postgresql" is no address'),
]


@pytest.mark.parametrize("address", ["memory:", "sqlite:///store.db", "sqlite:////var/lib/a%20b.db", *GOOD])
def test_an_address_stays_as_it_is(address: str) -> None:
    """
    Each form is taken as it was written.
    """
    assert address == Config(store=address).store


@pytest.mark.parametrize("address", GOOD)
def test_what_passes_is_an_address_for_the_store(address: str) -> None:
    """
    The store reads whatever the configuration takes.
    """
    assert Place(address, {}).hosts


@pytest.mark.parametrize(("address", "nearest", "words"), BAD)
def test_a_wrong_address_says_what_is_wrong(address: str, nearest: str | None, words: str) -> None:
    """
    The message has the fault, and the nearest form that there is.
    """
    with pytest.raises(ConfigError) as found:
        Config(store=address)

    assert words in str(found.value)
    assert nearest == found.value.nearest


@pytest.mark.parametrize(
    "address",
    [
        "redis://:hunter2@host",
        "redis://user:hunter2@host:6379/0",
        "rediss://user:hun@ter2@host",
        "redis://user:hunter2#x@host",
        "redis://user:hunter2/y@host/0",
        "redis://user:hunter2?z@host",
        "redis+cluster://user:hunter2@a:1,b:2",
        "redis+sentinel://user:hunter2@a:1/main",
        "redis+unix://user:hunter2@/run/redis.sock",
        "redis://sk-hunter2hunter2@host",
    ],
)
def test_a_password_is_refused_and_not_shown(address: str) -> None:
    """
    Wherever it stands before the host, the message says where it belongs, and repeats nothing of it.
    """
    with pytest.raises(ConfigError) as found:
        Config(store=address)

    assert "EGRESSOR_REDIS_PASSWORD" in str(found.value)
    assert "hun" not in str(found.value)
    assert found.value.__cause__ is None


@given(
    scheme=st.sampled_from(["redis", "rediss", "redis+cluster", "redis+sentinel", "redis+unix", "rediss+sentinel"]),
    rest=st.text("ab1.:/,@?&=#%[] \t-", max_size=24),
)
def test_whatever_passes_the_store_can_read(scheme: str, rest: str) -> None:
    """
    There is no address that the configuration takes and the store refuses, and none with a password.
    """
    address = f"{scheme}://{rest}"
    try:
        Config(store=address)
    except ConfigError:
        return
    place = Place(address, {})

    assert (place.password, str(place) != "") == (None, True)
