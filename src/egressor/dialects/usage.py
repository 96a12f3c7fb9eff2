"""
What an answer says that it used, and of which model and tier it is.

A number that can't be (a text, below 0, beyond belief) is left out and named, never believed and never an error: the
caller then goes by an estimate. An answer that says it used nothing at all has said nothing.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final, NamedTuple

from egressor._core.usage import Usage
from egressor.dialects.bodies import dig
from egressor.dialects.counts import ANTHROPIC, CHAT, RESPONSES, Form, count, counted, form_of, raw

__all__ = ["NOTHING", "Reported", "Totals", "completed", "parse", "read_usage"]

# Made once: json.loads makes one for each call that wants Decimals.
_DECODER: Final = json.JSONDecoder(parse_float=Decimal)
_NAME: Final = 200
_LISTED: Final = 4096
_PICO: Final = 10**12
_MOST_USD: Final = 10**6

# https://platform.openai.com/docs/guides/tools: each call of a tool is an item of the output.
_TOOLS: Final = {"web_search_call": "searches", "file_search_call": "lookups", "code_interpreter_call": "executions"}


class Reported(NamedTuple):
    """
    What an answer, or a stream so far, said of itself.

    Attributes:
        usage: What it used; what was not said is 0.
        said: Whether both directions were said, input and output; else an estimate has to stand in.
        missing: The directions that were not said, or not credibly: ``input``, ``output``.
        model: The model that answered, or empty.
        tier: The service tier that was used, or empty.
        speed: Anthropic's speed, or empty.
        billed_pico_usd: What the provider says that it has billed, in pico-dollars (OpenRouter does); else None.
        flags: What was odd: ``absent``, ``zero``, ``broken`` (a number that can't be), ``contradiction``.
    """

    usage: Usage
    missing: tuple[str, ...]
    model: str = ""
    tier: str = ""
    speed: str = ""
    billed_pico_usd: int | None = None
    flags: tuple[str, ...] = ()

    @property
    def said(self) -> bool:
        """
        Whether nothing has to be estimated.
        """
        return not self.missing


NOTHING: Final = Reported(Usage(), ("input", "output"), flags=("absent",))
"""
An answer that says nothing of what it used.
"""


class Totals:
    """
    The totals of an answer, collected from its one body or from the pieces of its stream.

    Anthropic's and Gemini's pieces state totals so far, and some servers repeat theirs: of each total the largest
    counts, and none is added to another.
    """

    def __init__(self) -> None:
        self.form: Form | None = None
        self.totals: dict[str, int] = {}
        self.broken: set[str] = set()
        self.model = ""
        self.tier = ""
        self.speed = ""
        self.billed: int | None = None

    def add(self, parsed: object) -> None:
        """
        Take in a body, or one piece of a stream, as parsed JSON.
        """
        if isinstance(parsed, list):
            # Gemini's streams without SSE are a list of pieces.
            for piece in parsed[:_LISTED]:
                if isinstance(piece, dict):
                    self._piece(piece)
        elif isinstance(parsed, dict):
            self._piece(parsed)

    def report(self) -> Reported:
        """
        Return what was said so far.
        """
        if self.form is None:
            return NOTHING._replace(model=self.model, tier=self.tier, speed=self.speed)
        usage, contradicts = counted(self.form, self.totals)
        flags = ["broken"] if self.broken else []
        if contradicts:
            flags.append("contradiction")
        missing = [name for name in ("input", "output") if name not in self.totals and not self._needs_no(name)]
        if not usage.sent and "input" in self.totals:
            # No model answers nothing: a server that counts nothing has not counted.
            flags.append("zero")
            missing = ["input"] if usage.received else ["input", "output"]
        return Reported(usage, tuple(missing), self.model, self.tier, self.speed, self.billed, tuple(flags))

    def _needs_no(self, direction: str) -> bool:
        """
        Tell whether an answer says all without this direction: embeddings have no output, seconds and pages no tokens.
        """
        if self.totals.get("seconds") or self.totals.get("pages"):
            return True
        if direction != "output" or self.form is not CHAT or "output" in self.broken:
            return False
        return "input" in self.totals and self.totals.get("total") == self.totals["input"]

    def _piece(self, piece: dict[str, object]) -> None:
        kind = _word(piece.get("type"))
        inner = piece.get("response") if kind.startswith("response.") else None
        inner = piece.get("message") if kind == "message_start" else inner
        body = inner if isinstance(inner, dict) else piece
        self._names(body)
        usage = body.get("usage") or body.get("usageMetadata") or dig(body, ("x_groq", "usage"))
        if isinstance(usage, dict):
            self._usage(usage, is_anthropic=kind in {"message", "message_start", "message_delta"})
        pages = count(dig(body, ("usage_info", "pages_processed")))
        if pages:
            self.form = self.form or RESPONSES
            self._keep({"pages": pages})
        output = body.get("output")
        if isinstance(output, list):
            self._tools(output)

    def _names(self, body: dict[str, object]) -> None:
        self.model = _word(body.get("model")) or _word(body.get("modelVersion")) or self.model
        self.tier = _word(body.get("service_tier")) or self.tier

    def _usage(self, usage: dict[str, object], *, is_anthropic: bool) -> None:
        form = form_of(usage, is_anthropic=is_anthropic)
        if form is RESPONSES and self.form is ANTHROPIC:
            form = ANTHROPIC
        totals, broken = raw(form, usage)
        self.form = form
        self.broken |= broken
        self._keep(totals)
        self.tier = _word(usage.get("service_tier")) or _word(usage.get("serviceTier")) or self.tier
        self.tier = _traffic(usage.get("trafficType")) or self.tier
        self.speed = _word(usage.get("speed")) or self.speed
        billed = _billed(usage.get("cost"))
        self.billed = self.billed if billed is None else billed

    def _keep(self, totals: dict[str, int]) -> None:
        for name, number in totals.items():
            self.totals[name] = max(self.totals.get(name, 0), number)

    def _tools(self, output: list[object]) -> None:
        used: dict[str, int] = {}
        for item in output[:_LISTED]:
            unit = _TOOLS.get(str(dig(item, ("type",))))
            if unit:
                used[unit] = used.get(unit, 0) + 1
        self._keep(used)


def read_usage(body: bytes | object) -> Reported:
    """
    Read what a whole answer used; never raises.

    Args:
        body: The body, as bytes or as parsed JSON.
    """
    totals = Totals()
    totals.add(parse(body) if isinstance(body, bytes | bytearray) else body)
    return totals.report()


def completed(reported: Reported, *, sent: int, received: int) -> Usage:
    """
    Return what an answer used, with estimates for what it didn't say; a direction that was said stays as it was said.

    Args:
        reported: What it said.
        sent: Tokens that the request was estimated at.
        received: Tokens that what came was estimated at; more than was counted in a stream that broke off is possible.
    """
    usage = reported.usage
    if "input" in reported.missing:
        usage = usage._replace(input=usage.input + max(0, sent - usage.sent))
    if "output" in reported.missing:
        usage = usage._replace(output=usage.output + max(0, received - usage.received))
    return usage


def parse(data: bytes | bytearray) -> object:
    """
    Parse JSON with exact decimals; None for what is none.
    """
    try:
        return _DECODER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
    except (ValueError, RecursionError):
        return None


def _word(value: object) -> str:
    return value[:_NAME] if isinstance(value, str) else ""


def _traffic(value: object) -> str:
    """
    Read Vertex's traffic type: ``ON_DEMAND_PRIORITY`` and ``ON_DEMAND_FLEX`` are tiers.
    """
    kind = _word(value).lower()
    return kind.removeprefix("on_demand_") if kind.startswith("on_demand_") else ""


def _billed(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | float) or not 0 <= value <= _MOST_USD:
        return None
    return int((Decimal(str(value)) * _PICO).to_integral_value(rounding="ROUND_CEILING"))
