"""
Which service a URL belongs to, and what becomes of URLs that belong to none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor import ConfigError, Governor, Policy, Rejected
from egressor.transports.places import Places
from tests.transports.upstream import answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Caller, Upstream

    Dial = Callable[..., Caller]

BASES = {
    "chat": "https://api.example.com/v1",
    "files": "https://api.example.com/v1/files",
    "root": "https://root.example.com",
    "plain": "http://api.example.com/v1/",
    "port": "https://api.example.com:8443/v1",
    "default-port": "https://other.example.com:443/",
    "upper": "HTTPS://Upper.Example.COM/V1",
    "six": "http://[::1]:9000/x",
    "tilde": "https://tilde.example.com/%7Eme",
    "twin-1": "https://twin.example.com/a",
    "twin-2": "https://twin.example.com/a/",
    "idn": "https://xn--mnchen-3ya.example/",
    "nowhere": None,
}


@pytest.mark.parametrize("family", [httpx2, httpx])
@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://api.example.com/v1", "chat"),
        ("https://api.example.com/v1/", "chat"),
        ("https://api.example.com/v1/chat/completions", "chat"),
        ("https://api.example.com/v1?key=1", "chat"),
        ("https://api.example.com/v1?a=/v1/files", "chat"),
        ("https://api.example.com/v1#part", "chat"),
        ("https://api.example.com:443/v1/chat", "chat"),
        ("https://API.Example.com/v1/chat", "chat"),
        ("https://api.example.com./v1/chat", "chat"),
        ("https://api.example.com/v1/files", "files"),
        ("https://api.example.com/v1/files/1", "files"),
        ("https://api.example.com/v1/filesystem", "chat"),
        ("https://api.example.com/v10/chat", None),
        ("https://api.example.com/V1/chat", None),
        ("https://api.example.com/v1%2Ffiles", None),
        ("https://api.example.com/", None),
        ("https://api.example.com/v1/../v2", None),
        ("https://api.example.com.evil.example/v1", None),
        ("https://evil.example/api.example.com/v1", None),
        ("https://api.example.com@evil.example/v1", None),
        ("https://user:secret@api.example.com/v1", "chat"),
        ("http://api.example.com/v1/chat", "plain"),
        ("http://api.example.com:80/v1", "plain"),
        ("https://api.example.com:80/v1", None),
        ("https://api.example.com:8443/v1/x", "port"),
        ("https://root.example.com", "root"),
        ("https://root.example.com/any/thing", "root"),
        ("https://other.example.com/a", "default-port"),
        ("https://upper.example.com/V1/a", "upper"),
        ("https://upper.example.com/v1/a", None),
        ("http://[::1]:9000/x/y", "six"),
        ("http://[0:0::1]:9001/x/y", None),
        ("https://tilde.example.com/~me/a", "tilde"),
        ("https://tilde.example.com/%7eme", "tilde"),
        ("https://twin.example.com/a/b", "twin-1"),
        ("https://münchen.example/a", "idn"),
    ],
)
def test_a_url_belongs_to_the_longest_base_url(family: Any, url: str, service: str | None) -> None:
    """
    Scheme, host and port are the same, and the path begins with the base's, segment by segment.
    """
    places = Places({name: Policy(base_url=base) for name, base in BASES.items()})
    parsed = family.URL(url)
    found = places.find(
        scheme=parsed.scheme,
        host=parsed.raw_host.decode(),
        port=parsed.port,
        path=parsed.raw_path.decode(),
    )

    assert found == service


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=3), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
)
def test_the_place_is_the_longest_prefix(bases: list[list[str]], path: list[str]) -> None:
    """
    Whatever services there are: none has a longer base that holds the path, and none is missed.
    """
    services = {f"s{n}": Policy(base_url="http://h/" + "/".join(base)) for n, base in enumerate(bases)}
    found = Places(services).find(scheme="http", host="h", port=None, path="/" + "/".join(path))
    fitting = [n for n, base in enumerate(bases) if path[: len(base)] == base]
    longest = max((len(bases[n]) for n in fitting), default=None)

    assert found == next((f"s{n}" for n in fitting if len(bases[n]) == longest), None)


def test_of_two_services_at_one_place_the_other_is_named(
    dial: Dial, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The first is taken, and the log says once that the second one's limits hold for nobody.
    """
    gov = Governor({"one": {"base_url": upstream.url}, "two": {"base_url": upstream.url + "/"}})
    caller = dial(gov)
    for path in ("/a", "/b"):
        caller.get(upstream.script(path, answer()))

    assert [gov.status()[name]["admitted"] for name in ("one", "two")] == [2, 0]
    assert caplog.text.count("one and two have one base_url") == 1


def test_requests_go_to_their_own_service(dial: Dial, upstream: Upstream) -> None:
    """
    One transport, two services of one host.
    """
    gov = Governor({"one": {"base_url": upstream.url + "/one"}, "two": {"base_url": upstream.url + "/two"}})
    caller = dial(gov)
    for path in ("/one/a", "/two/a", "/two/b"):
        caller.get(upstream.script(path, answer()))

    assert {name: state["admitted"] for name, state in gov.status().items()} == {"one": 1, "two": 2}


def test_unknown_hosts_pass_ungoverned(dial: Dial, upstream: Upstream) -> None:
    """
    That is the default: the server's failure is neither retried nor counted.
    """
    gov = Governor({"one": {"base_url": "https://api.example.com"}})

    assert dial(gov).get(upstream.script("/a", answer(500))).status_code == 500
    assert (len(upstream.received), gov.status()["one"]["admitted"]) == (1, 0)


def test_unknown_hosts_are_refused_if_the_policy_says_so(dial: Dial, upstream: Upstream) -> None:
    """
    Nothing is sent; the message names the host, and neither the path nor the query, where tokens are.
    """
    gov = Governor({"one": {"base_url": "https://api.example.com"}}, unknown_hosts="refuse")

    with pytest.raises(Rejected) as caught:
        dial(gov).get(upstream.script("/bot123:secret", answer()) + "?token=secret")
    assert (caught.value.reason, upstream.received) == ("unknown_host", [])
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_given_service_takes_every_host(dial: Dial, upstream: Upstream) -> None:
    """
    Also where unknown hosts are refused: this host is known.
    """
    gov = Governor({"one": {"base_url": "https://api.example.com"}}, unknown_hosts="refuse")

    assert dial(gov, "one").get(upstream.script("/a", answer())).status_code == 200


def test_a_reload_moves_the_places(dial: Dial, upstream: Upstream) -> None:
    """
    The next request goes by the new configuration: the service appears, goes, and comes back with its counts.
    """
    here, away = {"base_url": upstream.url}, {"base_url": "https://api.example.com"}
    url = upstream.script("/a", answer())
    gov = Governor({"one": away})
    caller = dial(gov)
    caller.get(url)
    gov.reload({"one": away, "two": here})
    caller.get(url)
    gov.reload({"one": here})
    caller.get(url)
    gov.reload({"two": here})
    caller.get(url)

    assert {name: state["admitted"] for name, state in gov.status().items()} == {"two": 2}


def test_a_service_that_was_removed_is_unknown(dial: Dial, upstream: Upstream) -> None:
    """
    A transport that was made for it says so at the next request.
    """
    gov = Governor({"one": {}})
    caller = dial(gov, "one")
    url = upstream.script("/a", answer())
    caller.get(url)
    gov.reload({"two": {}})

    with pytest.raises(ConfigError, match="unknown service 'one'"):
        caller.get(url)
