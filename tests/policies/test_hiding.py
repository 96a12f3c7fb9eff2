"""
Keys that were pasted in the wrong place: no error repeats them, wherever they stand, and names stay readable.
"""

from __future__ import annotations

from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor import Governor
from egressor.errors import ConfigError
from egressor.policies import Limit, Policy, load
from egressor.policies.hiding import NOT_SHOWN, hide, holds_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Shapes of real keys; none of them is one.
KEYS = {
    "openai": "sk-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5kL7nP9rS1tU",
    "openai project": "sk-proj-" + "Ab1_Cd2-Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3",
    "anthropic": "sk-ant-api03-" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789-AA",
    "short": "sk-abc12de",
    "stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "github": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "github, fine-grained": "github_pat_" + "11ABCDEFG0abcdefghijkl",
    "gitlab": "glpat-" + "aBcDeFgHiJkLmNoPqRsT",
    "slack": "xoxb-" + "123456789012-abcdefghijklmnop",
    "aws id": "AKIA" + "IOSFODNN7EXAMPLE",
    "aws secret": "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
    "google": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0KlMnOpQrStUvW",
    "telegram": "123456789:" + "AAF1b2C3d4E5f6G7h8I9j0KlMnOpQrStUvW",
    "discord": "MTk4NjIyNDgzNDcxOTI1MjQ4." + "Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N",
    "hugging face": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz",
    "binance": "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    "uuid": "550e8400-e29b-41d4-a716-446655440000",
    "hex": "d41d8cd98f00b204e9800998ecf8427e",
    "letters only": "qWeRtYuIoPaSdFgHjKlZxCvBnM",
    "small letters only": "xkqzvbnmplkjhgfdstrwqcyt",
    "capitals only": "XKQZVBNMPLKJHGFDSTRWQCYT",
    "password": "p@ssW0rd!2024#x",
    "header": "Bearer opaque",
}

PLACES = [
    "[services.x]\ndialect = '{}!'\n",
    "[services.x]\ntype = '{}'\n",
    "[services.x]\nlearn = '{}'\n",
    "[services.x]\npriority = '{}'\n",
    "[services.x]\ntimezone = '{}'\n",
    "[services.x]\nmax_wait = '{}'\n",
    "[services.x]\nlimits = '{}'\n",
    "[services.x]\nlimits = ['{}']\n",
    "[services.x]\nlimits = ['{}/minute']\n",
    "[services.x]\nlimits = ['5 {}!/minute']\n",
    "[services.x]\nlimits = ['5/minute {}']\n",
    "[services.x]\nlimits = ['5 per {}']\n",
    "[services.x]\nbase_url = '{}'\n",
    "[services.x]\nbase_url = 'https://{}/ :x'\n",
    "[services.x]\nbase_url = 'https://x/{} y'\n",
    "[services.x]\napi_key = '{}'\n",
    "[services.x]\napi_key = {{ env = '{}-' }}\n",
    "[services.x]\nbudget.day = '{}'\n",
    "[services.x]\nbreaker = '{}'\n",
    "[services.x]\n'{}' = 1\n",
    "[services.x.retry]\n'{}' = 1\n",
    "[services.x]\n'{0}' = 1\n'{0}' = 2\n",
    "[services.x]\nretry = {{ '{0}' = 1, '{0}' = 2 }}\n",
    "[services.x]\nmax_wait = {}\n",
    "[services.x]\nrules = [{{ match = {{ '{}!' = 'a' }}, priority = 'low' }}]\n",
    '[services.x]\nrules = [{{ match = {{ user = "{}\\u0007" }}, priority = "low" }}]\n',
    "[services.x]\nrules = [{{ match = {{ m = '{0}' }}, limits = [] }}, {{ match = {{ m = '{0}' }}, limits = [] }}]\n",
    "[services.'{} ']\n",
    "['{}']\n",
    "[egressor]\nstore = '{}'\n",
    "[egressor]\nledger = '{}://h'\n",
    "[egressor]\non_store_loss = '{}'\n",
    "[gateway]\nhost = '{} '\n",
]


MAKERS: dict[str, Callable[[Any], object]] = {
    "limit": Limit,
    "policy": lambda key: Policy(dialect=key + "!"),
    "priority": lambda key: Policy(priority=key),
    "limits": lambda key: Policy(limits=(key,)),
    "governor": lambda key: Governor({"x": {"dialect": key + "!"}}),
    "service": lambda key: Governor({key + " ": {}}),
    "setting": lambda key: Governor({"x": {key: 1}}),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("place", PLACES)
def test_no_error_repeats_a_key(place: str, key: str, tmp_path: Path) -> None:
    """
    Wherever a key is pasted into the file, the error says where, and shows neither the key nor a part of it.
    """
    path = tmp_path / "egressor.toml"
    path.write_text(place.format(key), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load(path)

    error = caught.value
    told = " ".join([str(error), repr(error), error.message, error.key or "", error.nearest or ""])
    assert error.line is not None
    assert [part for part in parts_of(key) if part in told.lower()] == []


def parts_of(key: str) -> list[str]:
    """
    Return pieces of *key* that would give it away, in small letters.
    """
    key = key.lower().removeprefix("bearer ")
    return [key[at : at + 6] for at in range(max(1, len(key) - 5))]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_no_error_in_python_repeats_a_key(make: Any, key: str) -> None:
    """
    What a program passes is hidden as what stands in a file is.
    """
    with pytest.raises(ConfigError) as caught:
        make(key)

    assert [part for part in parts_of(key) if part in str(caught.value).lower()] == []


@given(st.text(alphabet=ascii_letters + digits, min_size=24, max_size=200))
def test_long_random_texts_are_hidden_even_if_they_are_cut(key: str) -> None:
    """
    Any 24 letters and digits of all kinds look like a key, and no message shows the part that it has room for.
    """
    mixed = "a1B2" + key

    with pytest.raises(ConfigError) as caught:
        Policy(dialect=mixed)

    assert mixed[:8] not in str(caught.value)
    assert holds_secret(mixed)


@pytest.mark.parametrize(
    "text",
    [
        "openai",
        "Open AI",
        "llm_api",
        "binance-futures-2024-usdm",
        "Europe/Berln",
        "America/Argentina/Buenos_Aires2",
        "200_000 tokens/minute burst 500",
        "10000/5 minutes fixed",
        "https://api.openai.com/v1/chat/completions",
        "https://eu-west-1.example-host.com:99999/v2",
        "claude-sonnet-4-5",
        "gpt-4o-mini-2024-07-18",
        "on_store_loss",
        "basic",
        "botocore.errorfactory.ProvisionedThroughputExceededException",
        "aiohttp.ClientConnectorCertificateError",
        "rechtsschutzversicherungsgesellschaften",
        "the finest a token bucket can tell",
        "9" * 40,
        "a" * 64,
    ],
)
def test_names_stay_readable(text: str) -> None:
    """
    Names, limits, URLs, zones and plain numbers are shown as they were given.
    """
    assert hide(text) == text


def test_only_the_word_is_hidden() -> None:
    """
    What stands around a key remains.
    """
    assert hide(f'unknown "{KEYS["openai"]}" in line 3') == f'unknown "{NOT_SHOWN}" in line 3'
