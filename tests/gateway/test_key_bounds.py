"""
What one client's key may take of what all share, and the disguises in which a key might travel on.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from urllib.parse import quote

import pytest
from aiohttp import web
from yarl import URL

from egressor._core.model import Priority
from egressor.gateway.headers import read
from egressor.gateway.keys import PREFIX, admitted, digest
from egressor.policies import ClientKey
from tests.gateway.rig import gateway, until, upstream

pytestmark = pytest.mark.anyio
KEY, OTHER = PREFIX + "k3Yq" * 10 + "a_c", PREFIX + "0tHr" * 10 + "xyz"
BOB = ClientKey(name="bob", sha256=digest(OTHER))


def escaped(text: str) -> str:
    """
    Return *text* with every character as an escape.
    """
    return "".join(f"%{ord(each):02X}" for each in text)


@pytest.mark.parametrize(
    "path", [f"/t/{escaped(KEY)}", f"/t/x?k={KEY.replace('_', '%5F')}", f"/t/x?{quote(escaped(KEY))}"]
)
async def test_an_escaped_key_in_the_url_is_refused(path: str) -> None:
    """
    Its upstream would unescape it.
    """
    mine = ClientKey(name="ann", sha256=digest(KEY))
    async with (
        gateway(bounds={"keys": (mine,)}) as rig,
        rig.session.get(URL(rig.url + path, encoded=True), headers={"Authorization": f"Bearer {KEY}"}) as answer,
    ):
        status = answer.status

    assert status == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Auth", f"Basic {b64encode(f'ann:{KEY}'.encode()).decode()}"),
        ("X-Auth", b64encode(KEY.encode()).decode()),
        ("X-Auth", f"token {KEY.replace('_', '%5F')}"),
        ("Cookie", f"a=b; key={quote(escaped(KEY))}"),
        (f"X-{KEY}", "1"),
        (f"x-{KEY.lower()}", "1"),
    ],
)
def test_a_key_in_disguise_goes_no_further(name: str, value: str) -> None:
    """
    A header that holds the client's key is removed, however it is written there.
    """
    mine = ClientKey(name="ann", sha256=digest(KEY))
    head = read([(b"X-Mine", b"Basic eA=="), (name.encode(), value.encode())])

    assert admitted(head, mine, KEY, "t").pairs == [("X-Mine", "Basic eA==")]


@pytest.mark.parametrize(
    ("most", "headers", "expected"),
    [
        ("medium", {"Egressor-Priority": "critical"}, "medium"),
        ("medium", {"Egressor-Priority": "low"}, "low"),
        ("low", {}, "low"),
        ("low", {"Egressor-Feature": "urgent"}, "low"),
        ("high", {"Egressor-Feature": "urgent"}, "high"),
        ("high", {"Egressor-Feature": "urgent", "Egressor-Priority": "low"}, "low"),
        ("critical", {}, "medium"),
        (None, {"Egressor-Priority": "critical"}, "critical"),
        (None, {"Egressor-Feature": "urgent"}, "critical"),
    ],
)
async def test_a_key_has_its_highest_priority(most: str | None, headers: dict[str, str], expected: str) -> None:
    """
    Regression: the cap held only for a client that stated a priority, and neither for the policy's nor for a rule's.
    """
    go_on = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        await go_on.wait()
        return web.Response()

    mine = ClientKey(name="ann", sha256=digest(KEY), max_priority=most)  # type: ignore[arg-type] # as files say it
    rules = [{"match": {"feature": "urgent"}, "priority": "critical"}]
    async with (
        upstream(slow) as base,
        gateway(base, bounds={"keys": (mine, BOB)}, max_concurrency=1, rules=rules) as rig,
    ):

        async def ask(headers: dict[str, str]) -> int:
            async with rig.session.get(rig.url + "/t/x", headers=headers) as answer:
                return answer.status

        first = asyncio.create_task(ask({"x-api-key": OTHER}))
        await until(lambda: rig.state()["in_flight"] == 1)
        second = asyncio.create_task(ask({"x-api-key": KEY, **headers}))
        await until(lambda: any(rig.state()["waiting"].values()))
        waiting = [name for name, many in rig.state()["waiting"].items() if many]
        go_on.set()
        statuses = [await first, await second]

    assert (waiting, statuses) == ([expected], [200, 200])


async def test_keys_of_one_service_have_each_its_own_cap() -> None:
    """
    Requests that say the same of themselves share a place, but not one with a client who may be more important.
    """
    ann = ClientKey(name="ann", sha256=digest(KEY), max_priority="low")  # type: ignore[arg-type] # as files say it
    levels = []
    async with gateway(bounds={"keys": (ann, BOB)}, priority="high") as rig:
        for mine in (BOB, ann, BOB):
            route = rig.gateway._route("t", None, read([]), mine)
            levels.append(route.ask((), {}).level)

    assert levels == [Priority.HIGH, Priority.LOW, Priority.HIGH]


async def test_a_key_has_its_most_requests() -> None:
    """
    One more is refused, others are not in the way, and what has ended counts no more.
    """
    go_on = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        await go_on.wait()
        return web.Response()

    mine = ClientKey(name="ann", sha256=digest(KEY), max_in_flight=2)
    ann, bob = {"x-api-key": KEY}, {"x-api-key": OTHER}
    async with upstream(slow) as base, gateway(base, bounds={"keys": (mine, BOB)}) as rig:

        async def ask(headers: dict[str, str]) -> tuple[int, str]:
            async with rig.session.get(rig.url + "/t/x", headers=headers) as answer:
                return answer.status, await answer.text()

        first = [asyncio.create_task(ask(headers)) for headers in (ann, ann, bob)]
        await until(lambda: rig.state()["in_flight"] == 3)
        status, text = await ask(ann)
        go_on.set()
        others = [(await each)[0] for each in first]
        again = (await ask(ann))[0]

    assert (status, json.loads(text)["reason"]) == (429, "key_busy")
    assert [*others, again] == [200, 200, 200, 200]
