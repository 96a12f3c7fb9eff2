"""
Which addresses are dialled: the judge is a listener on this machine that counts who comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from egressor import ConfigError
from egressor.gateway.dialling import Dialler, ForbiddenAddressError, Place, _is_here, kind_of, proxies
from egressor.gateway.targets import origins
from egressor.policies import from_services, from_table
from tests.gateway.rig import Rig, gateway_of, upstream

pytestmark = pytest.mark.anyio


class Names(AbstractResolver):
    """
    A name server that answers what it is told, and counts how often it is asked.
    """

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """
        Return the next answer, and the last one ever after: a name that flips.
        """
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for each in answer.split()
        ]

    async def close(self) -> None:
        """
        Do nothing.
        """


@asynccontextmanager
async def named(names: Names, *, private: bool = False) -> AsyncIterator[tuple[Rig, list[str]]]:
    """
    Run a gateway whose service is at a name that *names* leads to this machine, or not; with the paths that came.
    """
    came: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        came.append(request.raw_path)
        return web.Response()

    async with upstream(note) as base:
        port = base.rpartition(":")[2]
        services = {"t": {"base_url": f"http://api.example.test:{port}", "private": private, "retry": {"attempts": 1}}}
        async with gateway_of(services) as rig:
            rig.gateway._upstream.dialler._inner = names
            yield rig, came


PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:80b::200e"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "fd00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "::127.0.0.1",
    "fe81::5efe:a00:1",
    "2001:0:7f00:1::",
]
NEVER = [
    "169.254.169.254",
    "169.254.1.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "fe80::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_of_no_kind(address: str) -> None:
    """
    What the internet routes may be dialled.
    """
    assert kind_of(ip_address(address)) is None


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_other_addresses_are_of_some_kind(address: str) -> None:
    """
    What stays inside of a network, however it is written or wrapped, is known as such.
    """
    assert kind_of(ip_address(address)) is not None


@pytest.mark.parametrize("address", [each for each in PRIVATE if each != "fe81::5efe:a00:1"])
def test_a_name_leads_inside_only_if_it_may(address: str) -> None:
    """
    A private address takes ``private``.
    """
    found = ip_address(address)

    assert not Place("api.example.test", 80, is_private=False).takes(found)
    assert Place("api.example.test", 80, is_private=True).takes(found)


@pytest.mark.parametrize("address", NEVER)
def test_no_name_leads_there(address: str) -> None:
    """
    Metadata servers, link-local and nobody's addresses are out of reach of every name, private or not.
    """
    assert not any(Place("api.example.test", 80, is_private=each).takes(ip_address(address)) for each in (True, False))


async def test_a_name_that_leads_here() -> None:
    """
    Nobody comes to a listener on this machine by a name, until the service says that it is private.
    """
    for private, status in ((False, 502), (True, 200)):
        async with named(Names("127.0.0.1"), private=private) as (rig, came):
            async with rig.session.get(rig.url + "/t/x") as answer:
                text = await answer.text()
            state = await rig.at_rest()
        assert (answer.status, len(came), state["breaker"]["failures"]) == (status, int(private), 0)
        assert ("forbidden_address" in text and "private = true" in text) == (not private)
        assert "127.0.0.1" not in text


async def test_a_name_that_flips() -> None:
    """
    What was checked is what is dialled: a name that leads elsewhere a moment later is not asked again for the dial.
    """
    names = Names("127.0.0.1", "169.254.169.254")
    async with named(names, private=True) as (rig, came), rig.session.get(rig.url + "/t/x") as answer:
        pass

    assert (answer.status, came, names.asked) == (200, ["/x"], 1)


async def test_a_name_that_leads_home() -> None:
    """
    A name never leads to the gateway's own port, private or not.
    """
    names = Names("127.0.0.1")
    services = {"t": {"base_url": "http://api.example.test:9", "private": True, "retry": {"attempts": 1}}}
    async with gateway_of(services) as rig:
        dialler = rig.gateway._upstream.dialler
        dialler._inner = names
        dialler.allow([Place("api.example.test", rig.port, is_private=True)])
        with pytest.raises(ForbiddenAddressError):
            await dialler.resolve("api.example.test", rig.port)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "foo.localhost"]
)
async def test_a_loop(host: str) -> None:
    """
    A service at the gateway's own address is 508, at once.
    """
    services = {"t": {"base_url": "http://127.0.0.1:9"}}
    async with gateway_of(services) as rig:
        rig.gateway.reload(from_services({"t": {"base_url": f"http://{host}:{rig.port}"}}))
        async with rig.session.get(rig.url + "/t/-/status.json") as answer:
            document = await answer.json()
        admitted = rig.state()["admitted"]

    assert (answer.status, document["reason"], admitted) == (508, "loop", 0)


async def test_some_addresses_of_a_name_are_left_out() -> None:
    """
    Of several addresses those that may not be dialled are left out.
    """
    dialler = Dialler(Names("10.0.0.1 8.8.8.8 169.254.169.254 ::1"))
    dialler.allow([Place("api.example.test", 443, is_private=False)])

    assert [each["host"] for each in await dialler.resolve("api.example.test", 443)] == ["8.8.8.8"]


@pytest.mark.parametrize(("host", "port"), [("evil.test", 443), ("api.example.test", 80), ("", 443)])
async def test_nobody_elses_name_is_resolved(host: str, port: int) -> None:
    """
    A host or port that no service names is refused before anybody is asked.
    """
    names = Names("8.8.8.8")
    dialler = Dialler(names)
    dialler.allow([Place("api.example.test", 443, is_private=True)])

    with pytest.raises(ForbiddenAddressError):
        await dialler.resolve(host, port)
    assert names.asked == 0


async def test_one_place_of_two_services() -> None:
    """
    Where two services share a host, it is private only if both say so.
    """
    dialler = Dialler(Names("10.0.0.1"))
    both = [Place("api.example.test", 443, is_private=each) for each in (True, False)]
    for places in (both, both[::-1]):
        dialler.allow(places)
        with pytest.raises(ForbiddenAddressError):
            await dialler.resolve("api.example.test", 443)


@pytest.mark.parametrize(
    ("url", "private", "good"),
    [
        ("http://127.0.0.1:9000", False, True),
        ("http://[::1]:9000", False, True),
        ("http://10.1.2.3", False, True),
        ("http://localhost:9000", False, True),
        ("http://169.254.169.254", False, False),
        ("http://169.254.169.254", True, True),
        ("http://[fe80::1]", False, False),
        ("http://[::ffff:169.254.169.254]", False, False),
        ("http://0.0.0.0:9000", True, False),
        ("http://224.0.0.1", True, False),
    ],
)
def test_addresses_in_the_configuration(url: str, private: bool, good: bool) -> None:
    """
    An address that is written as one is the operator's own; a metadata server's takes a second word.
    """
    config = from_services({"t": {"base_url": url, "private": private}})
    if good:
        assert origins(config)["t"].place.is_private == private
        return
    with pytest.raises(ConfigError, match=r"services\.t\.base_url"):
        origins(config)


def test_addresses_of_this_machine() -> None:
    """
    An address is this machine's if a socket can be bound to it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing, and picks the address that it would be sent from.
        except OSError:
            probe.bind(("127.0.0.1", 0))
        mine = probe.getsockname()[0]

    assert _is_here(ip_address(mine))
    assert _is_here(ip_address("::1"))
    assert not _is_here(ip_address("192.0.2.1"))
    assert not _is_here(ip_address("2001:db8::1"))


@pytest.mark.parametrize(
    ("word", "expected"), [("off", []), ("env", [Place("proxy.example.test", 3128, is_private=True)])]
)
def test_a_proxy_of_the_environment_is_the_operators_word(
    word: str, expected: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A proxy may be inside of the network, if the configuration asks for the environment's at all.
    """
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://user:pass@Proxy.Example.test:3128")

    assert proxies(from_table({"gateway": {"proxy": word}})) == expected


async def test_localhost_needs_no_word() -> None:
    """
    The name of this machine leads to this machine, and nowhere else.
    """

    async def fine(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with upstream(fine) as base:
        port = base.rpartition(":")[2]
        async with (
            gateway_of({"t": {"base_url": f"http://localhost:{port}"}}) as rig,
            rig.session.get(rig.url + "/t/x") as answer,
        ):
            pass
    dialler = Dialler(Names("10.0.0.1"))
    dialler.allow([Place("localhost", 443, is_private=False)])

    assert answer.status == 200
    with pytest.raises(ForbiddenAddressError):
        await dialler.resolve("localhost", 443)


async def test_decimal_and_octal_addresses_are_names() -> None:
    """
    ``http://2130706433`` is no address to us, but the resolver makes one of it: it is checked like every name's.
    """
    for host in ("2130706433", "0x7f.1", "127.1", "017700000001"):
        dialler = Dialler()
        dialler.allow([Place(host, 80, is_private=False)])
        with pytest.raises((ForbiddenAddressError, OSError)):
            await asyncio.wait_for(dialler.resolve(host, 80), 10)
        await dialler.close()
