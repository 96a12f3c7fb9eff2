"""
Mutated requests, through the gateway and through nginx in its place: where both forward, they forward the same.

Each mutated request is followed by a last one on the same connection. If two programs end the first at different
bytes, the last one stands elsewhere in what they forward: so a difference in framing is a difference in the list. An
upstream of each notes what it gets. Compared are method, target, host and body, one by one, as far as both have
forwarded: whoever refuses earlier is the stricter one, and that is no disagreement. What the gateway itself says that
it sends is compared with its upstream's notes, too.

With ``EGRESSOR_SOAK=1`` there are 100,000 of them; else some thousands, always the same. ``EGRESSOR_SEED`` is another
seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.gateway.rig import Rig, gateway, until
from tests.security.judge import Notes, Seen, ask, upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]
SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
COUNT = 100_000 if SOAK else 5_000
SEED = int(os.environ.get("EGRESSOR_SEED", "20261122"))
LANES = 16
# Some of the requests have no end: who waits for it is left. That one is slow makes no disagreement.
PATIENCE = 0.35
NGINX = Path(shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin") or "nginx")
# Stands for the number of the case: what arrives late, from the case before, is known by it.
MARK = b"000000"
LAST = b"GET /t/000000/last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HOST = b"Host: localhost\r\n"
BODY = b"GET /t/000000/inner HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SEEDS = [
    b"GET /t/000000/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /t/000000/a/b.c?d=e&f=%2F HTTP/1.1\r\n" + HOST + b"Accept: */*\r\nX-A: b, c\r\n\r\n",
    b"HEAD /t/000000/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"DELETE /t/000000/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"OPTIONS /t/000000/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /t/000000/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT /t/000000/a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    b"POST /t/000000/a HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    b"POST /t/000000/a HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /t/000000/a HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    b"POST /t/000000/a HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n",
    b"PATCH /t/000000/a HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, X-A\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /t/000000/a HTTP/1.1\r\n" + HOST + b"\r\nGET /t/000000/b HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /t/000000/a HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 3\r\n\r\nabcGET /t/000000/b?c HTTP/1.1\r\n"
    + HOST
    + b"\r\n",
    b"POST /t/000000/a HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
]
PIECES = [
    *b"\0 : ; , # ? / \\ % .. + - _ \x1f \x7f \x80 \xff \xc0\xaf %2e %2f %00 %5c %23 %0a".split(b" "),
    b"\x0b",
    b"\x0c",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b"\r\n\r\n",
    b"\r\n ",
    b"0",
    b"00",
    b"0x",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length : 4\r\n",
    b"content-length: 5\r\n",
    CHUNKED,
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: x, chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Host: evil.test\r\n",
    b"Host: localhost\r\n",
    b"X-Forwarded-Host: evil.test\r\n",
    b"Connection: close\r\n",
    b"Connection: Host, Content-Length\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
    b"X: \r\n y\r\n",
    b"0\r\n\r\n",
    b"1\r\nZ\r\n",
    b"5\r\n",
    b";a",
    b"http://evil.test",
    b"//evil.test/",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"GET /t/000000/c HTTP/1.1\r\nHost: localhost\r\n\r\n",
]
SWAPS = [
    (b"\r\n", b"\n"),
    (b"\r\n", b"\r"),
    (b": ", b":"),
    (b": ", b" : "),
    (b": ", b":\t"),
    (b"chunked", b"Chunked"),
    (b"chunked", b"chunked "),
    (b"chunked", b"xchunked"),
    (b"chunked", b'"chunked"'),
    (b"Content-Length", b"content-length"),
    (b"Content-Length", b"Content_Length"),
    (b"1.1", b"1.0"),
    (b"localhost", b"LOCALHOST:80"),
    (b"localhost", b"localhost@evil.test"),
    (b"/t/", b"/t//"),
    (b"/t/", b"/t/../t/"),
    (b"/t/", b"/t/%2e%2e/"),
    (b"/a", b"/a;b"),
    (b"/a", b"/%61"),
    (b" HTTP", b"  HTTP"),
    (b" /", b"\t/"),
]


def mutated(chance: random.Random) -> bytes:
    """
    Return a seed with one to three changes, or none.
    """
    data = chance.choice(SEEDS)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
        data = chance.choice(WAYS)(data, chance)
    return data


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(PIECES) + data[at:]


def _line(data: bytes, chance: random.Random) -> bytes:
    """
    Put a piece at the beginning of a line.
    """
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    lines[at] = chance.choice(PIECES) + lines[at]
    return b"\r\n".join(lines)


def _swap(data: bytes, chance: random.Random) -> bytes:
    old, new = chance.choice(SWAPS)
    places = [at for at in range(len(data)) if data.startswith(old, at)]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + new + data[at + len(old) :]


def _double(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"\r\n".join(lines)


def _drop(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randint(1, 4) :]


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _number(data: bytes, chance: random.Random) -> bytes:
    """
    Change a digit: a length that is a little wrong.
    """
    places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + b"%d" % chance.randrange(12) + data[at + 1 :]


WAYS: list[Callable[[bytes, random.Random], bytes]] = [
    _insert,
    _insert,
    _line,
    _line,
    _swap,
    _swap,
    _double,
    _drop,
    _flip,
    _number,
]


class Lane(NamedTuple):
    """
    A gateway and an nginx, each with an upstream of its own.
    """

    rig: Rig
    ours: Notes
    sent: list[tuple[str, str]]
    nginx: Path
    theirs: Notes


@contextmanager
def nginx(folder: Path, places: list[tuple[Path, int]]) -> Iterator[None]:
    """
    Run an nginx that does at each socket what the gateway does, with the upstream at the port.
    """
    servers = "\n".join(
        f"server {{ listen unix:{front}; location = /t {{ proxy_pass http://127.0.0.1:{back}$rest; }} "
        f"location /t/ {{ proxy_pass http://127.0.0.1:{back}$rest; }} location / {{ return 404; }} }}"
        for front, back in places
    )
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; merge_slashes off; client_max_body_size 0; client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
            uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
            map $request_uri $rest {{ "~^/t(?<it>/.*)$" $it; "~^/t(?<query>\\?.*)?$" /$query; default /odd; }}
            {servers}
        }}"""
    )
    with subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder]) as server:
        try:
            yield
        finally:
            server.terminate()


@asynccontextmanager
async def lanes(folder: Path, count: int) -> AsyncIterator[list[Lane]]:
    """
    Run *count* lanes.
    """
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            ours, theirs = [await stack.enter_async_context(upstream()) for _ in range(2)]
            off: dict[str, Any] = {"breaker": {"enabled": False}}
            rig = await stack.enter_async_context(gateway(ours.url, **off))
            found.append(Lane(rig, ours, noting(rig), folder / f"{number}.sock", theirs))
        stack.enter_context(nginx(folder, [(lane.nginx, lane.theirs.port) for lane in found]))
        # It is written when all sockets listen.
        await until((folder / "pid").exists)
        yield found


def noting(rig: Rig) -> list[tuple[str, str]]:
    """
    Return a list that gets method and URL of whatever the gateway says that it sends.
    """
    sent: list[tuple[str, str]] = []
    sender = rig.gateway._upstream
    send = sender.send

    async def note(method: str, url: str, *rest: Any, **named: Any) -> Any:
        sent.append((method, url))
        return await send(method, url, *rest, **named)

    sender.send = note  # type: ignore[method-assign]
    return sent


def view(seen: Seen, notes: Notes) -> tuple[str, str, bool, bytes]:
    """
    Return what is compared: method, target, whether the host is the upstream's own, body.
    """
    # A question mark with nothing behind it is dropped by us, and asks for nothing.
    target = seen.target.removesuffix("?") if seen.target.count("?") == 1 else seen.target
    return seen.method, target, seen.header("host") == notes.url.removeprefix("http://"), seen.body


def is_of(target: str, mark: bytes) -> bool:
    """
    Whether a request for *target* may be of the case *mark*: it says so, or says nothing.
    """
    found = re.match(r"/+([0-9]{5,})", target)
    return found is None or found[1] == mark.decode()


async def compare(lane: Lane, number: int, data: bytes, tally: Counter[str]) -> str | None:
    """
    Send *data* both ways as case *number*; return what they disagree about.
    """
    mark = b"%06d" % number
    data = (data + LAST).replace(MARK, mark)
    for notes in (lane.ours, lane.theirs):
        notes.requests.clear()
        notes.odd.clear()
    lane.sent.clear()
    await asyncio.gather(*(ask(place, data, patience=PATIENCE) for place in (lane.rig.port, lane.nginx)))
    await until(lambda: not lane.rig.state()["in_flight"])
    ours = [view(each, lane.ours) for each in lane.ours.requests if is_of(each.target, mark)]
    theirs = [view(each, lane.theirs) for each in lane.theirs.requests if is_of(each.target, mark)]
    # A target always has a slash, also where the URL has no path.
    said = [(method, "/" + url.removeprefix(lane.ours.url).removeprefix("/")) for method, url in lane.sent]
    said = [each for each in said if is_of(each[1], mark)]
    tally["both" if ours and theirs else "ours only" if ours else "theirs only" if theirs else "neither"] += 1
    tally["whole"] += ours == theirs and bool(ours)
    if any(a != b for a, b in zip(ours, theirs, strict=False)):
        return f"{data!r}: we {ours}, nginx {theirs}"
    # An attempt that was cut off with its client may have reached nobody.
    if [each[:2] for each in ours] != [pair for pair, _ in zip(said, ours, strict=False)] or len(said) < len(ours):
        return f"{data!r}: we say {said}, the upstream got {ours}"
    if lane.ours.odd and not any(data.startswith(each[:4]) for each in (b"POST", b"PUT ")):
        return f"{data!r}: the upstream got {lane.ours.odd}"
    return None


async def test_the_gateway_forwards_what_nginx_forwards(tmp_path: Path) -> None:
    """
    Over all mutated requests: no disagreement, and most of the good ones forwarded by both in the same way.
    """
    chance = random.Random(SEED)
    work = iter(list(enumerate([mutated(chance) for _ in range(COUNT)], 1)))
    tally: Counter[str] = Counter()
    wrong: list[str] = []

    async def run(lane: Lane) -> None:
        for number, data in work:
            found = await compare(lane, number, data, tally)
            if found is not None:
                wrong.append(found)

    async with lanes(tmp_path, LANES) as found, asyncio.TaskGroup() as group:
        for lane in found:
            group.create_task(run(lane))

    print(f"seed {SEED}: {COUNT} requests, {dict(tally)}, {len(wrong)} disagreements", *wrong, sep="\n")  # noqa: T201
    assert wrong[:5] == []
    assert tally["both"] > COUNT // 5
    assert tally["whole"] > COUNT // 6


async def test_the_judge_sees_a_difference(tmp_path: Path) -> None:
    """
    A gateway that forwards another path is found out.
    """
    async with lanes(tmp_path, 1) as (lane,):
        lane.rig.gateway._origins["t"] = lane.rig.gateway._origins["t"]._replace(base_url=lane.ours.url + "/x")
        found = await compare(lane, 1, SEEDS[0], Counter())

    assert found is not None
