"""
Feed the readers of strangers' words with mutated answers, headers, dates and messages, for a bounded time.

Whatever comes in, there is one verdict, the same each time, within its bounds, in a time that is bounded too, and it
repeats nothing of what a server wrote; and what history keeps of a message shows no key. A violation ends the run with
the input that caused it, as Python writes it.

``fuzz.py --seconds 60`` lets atheris choose the inputs, by what code they reach; without atheris, or with
``--plain``, they are mutations of the labelled cases in ``tests/corpora``, the same ones for the same ``--seed``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CORPORA = Path(__file__).resolve().parent.parent / "tests" / "corpora"
CANARY = "sk-CANARYCANARYCANARY"
LONGEST = 30 * 86400
MESSAGE = 2_000
SLOW = 0.25
"""
Seconds of the processor's own time that no input may take; a hundred times what the slowest takes.
"""
STATUSES = (200, 202, 301, 400, 401, 403, 418, 429, 451, 500, 503, 529)
NAMES_OF_HEADERS = ("retry-after", "date", "content-type", "x-ratelimit-reset", "ratelimit", "cf-mitigated", "location")
MODULES = ("ccxt.base.errors", "telethon.errors.rpcerrorlist", "praw.exceptions", "psycopg", "openai", "my.own")
KINDS = ("NetworkError", "FloodWaitError", "BadSymbol", "OperationalError", "APIStatusError", "Boom")
WORDS = (
    '{"error"',
    '"code":',
    "'",
    '"',
    "[",
    "{",
    "<html",
    "data: ",
    "429 ",
    "try again in ",
    "1e308",
    "-",
    "\\",
    "\x00",
    "password=",
    "-u a:",
    " -p ",
    "://u:p@",
    "mnemonic: ",
    "hooks.a/",
    "eyJ",
)


class BrokenPromiseError(Exception):
    """
    An input after which something did not hold.
    """


def main(argv: list[str] | None = None) -> int:
    """
    Fuzz for the time that is asked for.

    Returns:
        The exit code: 0, or 1 after a violation.
    """
    parser = argparse.ArgumentParser(description="Fuzz the readers of answers and exceptions.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the plain mutations (default: 1)")
    parser.add_argument("--plain", action="store_true", help="mutations of the labelled cases, without atheris")
    given = parser.parse_args(argv)
    atheris = None if given.plain else loaded("atheris")
    if atheris is not None:
        return guided(atheris, given.seconds)
    return plain(given.seconds, given.seed)


def loaded(name: str) -> Any:
    """
    Import a module, if it is here.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def guided(atheris: Any, seconds: float) -> int:
    """
    Let atheris look for inputs that reach new code; it ends the process itself.
    """
    with atheris.instrument_imports(include=["egressor"]):
        target = target_of()

    def once(data: bytes) -> None:
        target(data)

    with tempfile.TemporaryDirectory() as folder:
        for position, seed in enumerate(seeds()):
            (Path(folder) / str(position)).write_bytes(seed)
        words = [sys.argv[0], folder, f"-max_total_time={int(seconds)}", "-max_len=9000", "-print_final_stats=1"]
        atheris.Setup(words, once)
        atheris.Fuzz()
    return 0


def plain(seconds: float, seed: int) -> int:
    """
    Mutate the labelled cases, and say how many inputs there were.
    """
    target, known, chance = target_of(), seeds(), random.Random(seed)  # noqa: S311 - dice, not a secret
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        data = mutated(chance.choice(known), chance)
        count += 1
        try:
            target(data)
        except BrokenPromiseError as error:
            print(f"input {count} of seed {seed}: {error}: {data!r}", file=sys.stderr)
            return 1
    print(f"{count} inputs in {seconds:.0f} s, each with one verdict")
    return 0


def seeds() -> list[bytes]:
    """
    Return the labelled cases as inputs: three numbers that choose, then the words.
    """
    found = {b"\0\0\0" + b"Wed, 21 Oct 2026 07:28:00 GMT", b"\0\0\1" + b'"default";r=0;t=30, "daily";r=120;t=86400'}
    for name in ("errors.jsonl", "documented.jsonl", "bans.jsonl"):
        for line in (CORPORA / name).read_text("utf-8").splitlines():
            row = json.loads(line)
            for text in (row.get("body_snippet") or row.get("body"), row.get("message")):
                if text:
                    found.add(bytes((len(found) % 256, len(text) % 256, len(found) % 7)) + text.encode())
    return sorted(found)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """
    Change *data* in one to eight places.
    """
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed) + 1)
        act = chance.randrange(6)
        if act == 0:
            changed[place:place] = chance.choice(WORDS).encode()
        elif act == 1:
            del changed[place : place + chance.randint(1, 20)]
        elif act == 2:
            changed[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        elif act == 3:
            changed[place:place] = changed[: chance.randint(1, 200)]
        elif act == 4 and len(changed) < 20_000:
            changed += changed[place:] * chance.randint(1, 20)
        elif changed:
            changed[min(place, len(changed) - 1)] = chance.randrange(256)
    return bytes(changed)


def target_of() -> Callable[[bytes], None]:
    """
    Import what is fuzzed, and return the function that takes an input.
    """
    from egressor._core.evidence import headers_of
    from egressor._core.retry_after import http_date, retry_after
    from egressor.dialects import NAMES, classify, hints
    from egressor.policies.redaction import redact

    def target(data: bytes) -> None:
        first, second, third, rest = *data[:3].ljust(3, b"\0"), data[3:]
        text = rest.decode("utf-8", "replace")
        dialect, status = NAMES[first % len(NAMES)], STATUSES[second % len(STATUSES)]
        headers = {NAMES_OF_HEADERS[third % len(NAMES_OF_HEADERS)]: text[:200]}
        kind = type(KINDS[third % len(KINDS)], (Exception,), {"__module__": MODULES[first % len(MODULES)]})
        begin = time.process_time()
        for thing, said in (
            (None, {"status": status, "headers": headers, "body": rest}),
            (None, {"status": status, "headers": headers, "body": text + CANARY}),
            (kind(text + CANARY), {}),
            (kind(text), {"status": status, "body": text}),
        ):
            check(classify, thing, {**said, "dialect": dialect, "now": 1.8e9})
        limits = hints(headers, dialect=dialect, now=1.8e9)
        expect(
            all(hint.resets is None or 0 <= hint.resets <= LONGEST * 1e6 for hint in limits), "a reset out of bounds"
        )
        wait = retry_after(headers_of(headers), status=429, now=1.8e9)
        expect(wait is None or 0 <= wait <= LONGEST, "a wait out of bounds")
        http_date(text)
        hidden = redact(f"{text[:MESSAGE]} {CANARY} {text[MESSAGE:][:MESSAGE]}")
        expect(CANARY not in hidden, "a key in history")
        expect(redact(hidden) == hidden, "something else hidden the second time")
        spent = time.process_time() - begin
        expect(spent < SLOW, f"{spent:.3f} s")

    return target


def check(classify: Callable[..., Any], thing: BaseException | None, said: dict[str, Any]) -> None:
    """
    Classify twice, and hold the verdict to what is promised of one.
    """
    verdict = classify(thing, **said)
    expect(verdict == classify(thing, **said), "another verdict the second time")
    expect(verdict.retry_after is None or 0 <= verdict.retry_after <= LONGEST, "a wait out of bounds")
    expect(verdict.fingerprint.isascii() and len(verdict.fingerprint) <= 200, "a fingerprint out of bounds")
    expect(CANARY not in repr(verdict), "the server's words in a verdict")


def expect(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as the sentence that it is
    """
    Raise if something does not hold.
    """
    if not holds:
        raise BrokenPromiseError(what)


if __name__ == "__main__":
    sys.exit(main())
