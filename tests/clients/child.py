"""
Run one client's uses in this environment, whichever it is, and print what they came to as JSON.

    python child.py CLIENT {"direct": URL, "gateway": URL, "paused": URL, "src": PATH}
    python child.py CLIENT {"asked": [{"name": NAME, "base": URL, …}, …], "src": PATH}

Each use runs directly, then through us in each way that the client offers: behind a transport, with a governor in this
very process, or by the gateway's URL. A use that comes to an exception is told by its class, its status and its text.
In the second form each use, or the one that is named, runs against each URL, with "retries" of its own, and behind a
transport whose limit is used up where "is_spent" says so.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "clients.md"


class Way:
    """
    One way to the API.

    Attributes:
        base: Where the API is, without a slash at its end.
        gov: The governor, behind a transport; None otherwise.
        retries: How often a client's own loop may try again, where it has one.
    """

    def __init__(self, base: str, gov: Any = None, *, retries: int = 0) -> None:
        self.base = base
        self.gov = gov
        self.retries = retries

    def transport(self) -> Any:
        """
        Return the transport for a client of httpx2 or httpx; None for its own.
        """
        if self.gov is None:
            return None
        from egressor.transports.httpx import Transport

        return Transport(self.gov, "api")

    def async_transport(self) -> Any:
        """
        Return the transport for an asynchronous client; None for its own.
        """
        if self.gov is None:
            return None
        from egressor.transports.httpx import AsyncTransport

        return AsyncTransport(self.gov, "api")

    def middlewares(self, *others: Any) -> tuple[Any, ...]:
        """
        Return the middlewares for a session of aiohttp, ours before *others*.
        """
        if self.gov is None:
            return others
        from egressor.transports.aiohttp import middleware

        return (middleware(self.gov, "api"), *others)

    def mount(self, session: Any, inner: Any = None) -> Any:
        """
        Mount our adapter, around *inner*, on a session of requests, or *inner* alone.
        """
        adapter = inner
        if self.gov is not None:
            from egressor.transports.requests import Adapter

            adapter = Adapter(self.gov, "api", inner)
        if adapter is not None:
            session.mount("https://", adapter)
            session.mount("http://", adapter)
        return session

    @staticmethod
    def documented(name: str) -> Any:
        """
        Return what the page of the clients defines as *name*.
        """
        blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        found: dict[str, Any] = {}
        exec(next(block for block in blocks if re.search(rf"^(class|def) {name}\b", block, re.MULTILINE)), found)  # noqa: S102
        return found[name]


def plain(value: Any) -> Any:
    """
    Return *value* as JSON can hold it: two values that are equal here are equal to their user.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "model_dump"):
        return [type(value).__name__, plain(value.model_dump(mode="json", warnings=False))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, plain(dataclasses.asdict(value))]
    if hasattr(value, "to_dict"):
        return [type(value).__name__, plain(value.to_dict())]
    return repr(value)


def failure(error: BaseException) -> dict[str, Any]:
    """
    Return what a client's user sees of *error*, and what `egressor.unwrap` finds in it.
    """
    from egressor import Rejected, unwrap

    kind = type(error)
    response = getattr(error, "response", None)
    status = next((value for value in (_status(error), _status(response), getattr(error, "code", None)) if value), None)
    found = unwrap(error)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "status": plain(status),
        "text": str(error),
        "refused": type(found).__name__ if isinstance(found, Rejected) else None,
        "retry_after": _retry_after(found if isinstance(found, Rejected) else error),
    }


def _status(value: Any) -> Any:
    return getattr(value, "status_code", getattr(value, "status", None))


def _retry_after(error: Any) -> Any:
    """
    Return the seconds after which to try again: a refusal's own, or those of an answer's header.
    """
    holders = (getattr(error, "response", None), error)
    found = [getattr(each, name, None) for each in holders for name in ("headers", "litellm_response_headers")]
    headers: Any = next((each for each in found if each), {})
    value = getattr(error, "retry_after", None) or headers.get("retry-after")
    return None if value is None else float(value)


async def outcome(use: Any, way: Way) -> Any:
    """
    Return what *use* comes to.
    """
    try:
        value = await use(way) if inspect.iscoroutinefunction(use) else await asyncio.to_thread(use, way)
    except Exception as error:  # noqa: BLE001 - what is compared
        return {"error": failure(error)}
    return {"value": plain(value)}


async def everything(client: Any, said: dict[str, Any]) -> dict[str, Any]:
    """
    Run all uses in all ways.
    """
    from egressor import Governor

    uses: dict[str, Any] = client.USES
    policy = {"retry": {"attempts": 2, "base": 0.01, "cap": 0.02}, "max_concurrency": 1, "max_wait": 5.0}
    gov = Governor({"api": policy})
    paused = Governor({"api": policy})
    paused.pause("api")
    ways = {"direct": Way(said["direct"])}
    refused = {}
    if "transport" in client.WAYS:
        ways["transport"] = Way(said["direct"], gov)
        refused["transport"] = Way(said["direct"], paused)
    if "gateway" in client.WAYS:
        ways["gateway"] = Way(said["gateway"])
        refused["gateway"] = Way(said["paused"])
    found: dict[str, Any] = {
        name: {key: await outcome(use, way) for key, use in uses.items()} for name, way in ways.items()
    }
    found["refused"] = {
        name: {key: await outcome(use, way) for key, use in uses.items() if "error" not in key}
        for name, way in refused.items()
    }
    state = gov.status()["api"]
    found["state"] = {key: state[key] for key in ("admitted", "in_flight", "succeeded")}
    return found


async def answers(client: Any, asked: list[dict[str, Any]]) -> dict[str, Any]:
    """
    Run what is *asked* for, in order, and return each outcome under its name.
    """
    from egressor import Governor

    found: dict[str, Any] = {}
    for said in asked:
        gov = None
        if said.get("is_spent"):
            gov = Governor({"api": {"limits": ["1/hour"], "max_wait": 0}})
            with gov.permit("api"):
                pass
        way = Way(said["base"], gov, retries=said.get("retries", 0))
        names = [said["use"]] if "use" in said else [name for name in client.USES if "error" not in name]
        found[said["name"]] = {name: await outcome(client.USES[name], way) for name in names}
    return found


def main(name: str, said: dict[str, Any]) -> None:
    """
    Print what the uses of the client *name* come to.
    """
    sys.path.insert(0, said["src"])
    place = HERE / "uses" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"use_of_{name}", place)
    if spec is None or spec.loader is None:
        msg = f"no {place}"
        raise SystemExit(msg)
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    asked: Any = said.get("asked")
    found = asyncio.run(answers(client, asked) if asked else everything(client, said))
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    # The folder of this script holds modules with the names of the clients: it is no place to import from.
    sys.path.remove(str(HERE)) if str(HERE) in sys.path else None
    main(sys.argv[1], json.loads(sys.argv[2]))
