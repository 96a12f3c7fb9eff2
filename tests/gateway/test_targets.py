"""
Where services are, and which key goes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egressor import ConfigError
from egressor.gateway.targets import Origin, origins
from egressor.policies import from_services

URL = "http://127.0.0.1:1/v1"


def origin(**settings: Any) -> Origin:
    """
    Build the upstream of one service.
    """
    return origins(from_services({"t": {"base_url": URL, **settings}}))["t"]


@pytest.mark.parametrize(
    ("dialect", "expected"), [("openai", ("Authorization", "Bearer sk-1")), ("anthropic", ("x-api-key", "sk-1"))]
)
def test_key_replaces_the_clients(monkeypatch: pytest.MonkeyPatch, dialect: str, expected: tuple[str, str]) -> None:
    """
    The key goes where the dialect has it, and whatever credential the client has sent does not.
    """
    monkeypatch.setenv("KEY", "sk-1\n")
    mine = origin(dialect=dialect, api_key={"env": "KEY"})

    signed = mine.signed([("AUTHORIZATION", "x"), ("X-Api-Key", "y"), ("Accept", "z")])

    assert signed == [("Accept", "z"), expected]
    assert "sk-1" not in repr(mine)


def test_without_a_key_the_clients_goes_through() -> None:
    """
    A service without ``api_key`` sees the client's own credentials.
    """
    assert origin().signed([("Authorization", "x")]) == [("Authorization", "x")]


def test_key_from_a_file(tmp_path: Path) -> None:
    """
    A key may stand in a file.
    """
    file = tmp_path / "key"
    file.write_text("  sk-2\n")

    assert origin(api_key={"file": str(file)}).credential == ("Authorization", "Bearer sk-2")


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "ümlaut", "x" * 20_000])
def test_no_key(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """
    What can't be a key is an error that doesn't show it.
    """
    monkeypatch.setenv("KEY", value)

    with pytest.raises(ConfigError) as caught:
        origin(api_key={"env": "KEY"})

    assert caught.value.key == "services.t.api_key"
    assert not value.strip() or value not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """
    A key's file that isn't there is an error.
    """
    with pytest.raises(ConfigError, match="can't be read"):
        origin(api_key={"file": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", "chat/completions"),
        ("/v1/completions", "completions"),
        ("/v1/xcompletions", None),
        ("/v1/completions/9", None),
        # Regression: so written, a path got by the endpoint's limits, and the upstream read it all the same.
        ("/v1/chat/complet%69ons", "chat/completions"),
        ("/v1/chat/completions/", "chat/completions"),
        ("/v1//chat///completions//", "chat/completions"),
        ("/v1/CHAT/completions", "chat/completions"),
        ("/v1/Completions", "completions"),
        ("/v1/completions%20", None),
    ],
)
def test_endpoint(path: str, expected: str | None) -> None:
    """
    The longest endpoint that the path ends with, on a segment's border, is the call's.
    """
    rules = [{"match": {"endpoint": name}, "limits": ["1/second"]} for name in ("completions", "chat/completions")]

    assert origin(rules=rules).endpoint(path) == expected


@pytest.mark.parametrize("path", ["/r/Python", "/r/python"])
def test_endpoints_that_differ_by_case_alone(path: str) -> None:
    """
    Then it is told apart.
    """
    rules = [{"match": {"endpoint": name}, "limits": ["1/second"]} for name in ("Python", "python")]

    assert origin(rules=rules).endpoint(path) == path.rpartition("/")[2]


def test_no_rule_for_any_endpoint() -> None:
    """
    Regression: such a rule was taken, and never matched.
    """
    rules = [{"match": {"user": "*"}, "limits": ["1/day"]}, {"match": {"endpoint": "*"}, "limits": ["1/day"]}]

    with pytest.raises(ConfigError, match="would match none") as caught:
        origin(rules=rules)

    assert caught.value.key == "services.t.rules[1].match.endpoint"


def test_only_services_with_a_base_url() -> None:
    """
    A service without a base URL is for decorators.
    """
    assert origins(from_services({"t": {}})) == {}
