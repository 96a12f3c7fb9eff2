"""
Requests to language models: what they ask for, and the wish for usage that is added to them.

OpenAI's chat sends no usage in a stream unless it is asked for it, in one chunk more than usual, which clients that did
not ask for it trip over: they look at its first choice, and it has none. So the wish is added to the request, and the
chunk taken out of the answer again; every other byte of both stays as it was.
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

from egressor._core.usage import MOST
from egressor.dialects.paths import deployment_at, kind_at, model_at, plain
from egressor.dialects.usage import parse

__all__ = [
    "ASKED",
    "LONGEST",
    "Asking",
    "UsageHider",
    "model_of",
    "read_parsed",
    "read_request",
    "with_bound",
    "with_usage",
]

ASKED: Final = frozenset({"openai", "azure", "deepseek", "openrouter"})
"""
Dialects whose vendor documents ``stream_options``. Groq and Mistral send usage unasked; others may refuse the word.
"""

LONGEST: Final = 16 << 10
"""
Bytes of the longest chunk that may be taken out: usage is some hundred.
"""

_WISH: Final = b'"stream_options":{"include_usage":true}'
_BOUNDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
_CONFIGS: Final = ("generationConfig", "generation_config")
# The bound that stands there.
_CONFIGURED: Final = "maxOutputTokens"
_ANSWERS: Final = ("n", "best_of", "candidateCount", "candidate_count")
_BLANK: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_CHOSEN: Final = re.compile(rb'"choices"\s*:\s*\[\s*[^\]\s]')
# Names of fields, and types of parts and tools, that stand for a text of any length: it is fetched or remembered.
_FETCHED: Final = re.compile(
    "file_id|file_uri|fileUri|fileData|cachedContent|cached_content|previous_response_id|conversation|prompt_id|container"
    "|mcp|mcp_servers|item_reference|web_search[a-z_0-9]*|web_fetch[a-z_0-9]*|file_search|code_interpreter"
    "|computer[a-z_0-9]*|google_search|googleSearch|url_context|urlContext|plugins"
)
# Those that stand for more than their bytes, but not without a bound.
_BESIDE: Final = frozenset(
    {"image_url", "input_image", "input_audio", "input_file", "file", "image", "document", "inlineData", "inline_data"}
    | {"file_data", "modalities"}
)
# Whose names are the user's own, or his model's: schemas, the arguments of calls, notes.
_OWN: Final = frozenset(
    {"parameters", "parametersJsonSchema", "input_schema", "schema", "responseSchema", "response_schema"}
    | {"responseJsonSchema", "args", "response", "metadata", "labels", "logit_bias"}
)
_SPACE: Final = re.compile(r"[ \t\n\r]*")


class Asking(NamedTuple):
    """
    What a request asks for.

    Attributes:
        kind: ``chat``, ``completions``, ``responses``, ``messages`` (Anthropic's), ``embeddings`` or ``gemini``.
        model: The model's name; empty if it names none.
        stream: Whether the answer is to be a stream.
        most_output: Tokens that one answer may have at most, thought ones included; None if it says none.
        answers: How many answers it asks for: 1 or more.
        usage: Whether it asks for usage in a stream itself.
        size: Bytes of the body. A text has no more tokens than bytes.
        text: Whether all that it sends is in the body, as text: no picture, file or sound, nothing that the provider
            fetches or remembers. Only then *size* is a bound for what it sends.
        tier: The service tier that it asks for, as it says; empty if it names none.
        speed: Anthropic's ``speed``; empty if it names none.
        others: Models that may answer in place of *model* (OpenRouter's ``models``).
        fetches: Whether the provider may put texts of its own before the model: what it remembers, keeps or looks up.
        said: The model's name in the body, which Azure ignores; empty if it names none.
        bounds: By which names it says *most_output*, of those at the place that requests of its kind have for them.
    """

    kind: str
    model: str
    stream: bool
    most_output: int | None
    answers: int
    usage: bool
    size: int
    text: bool
    tier: str = ""
    speed: str = ""
    others: tuple[str, ...] = ()
    fetches: bool = False
    bounds: frozenset[str] = frozenset()
    said: str = ""


def read_request(body: bytes, path: str = "") -> Asking | None:
    """
    Tell what a request to a language model asks for; never raises.

    Args:
        body: The body, whole.
        path: The path of its URL; without it the body's own words have to tell.

    Returns:
        What it asks for; None if it is no such request, or not one that can be read.
    """
    return read_parsed(parse(body), body, path)


def read_parsed(parsed: object, body: bytes, path: str = "") -> Asking | None:
    """
    As `read_request`, for a *body* that was *parsed* already.
    """
    if not isinstance(parsed, dict):
        return None
    path = plain(path)
    kind = kind_at(path) or _guess(parsed)
    if not kind:
        return None
    is_gemini = kind == "gemini" and bool(path)
    config = _config(parsed)
    options = parsed.get("stream_options")
    is_text, fetches = _beside(parsed)
    return Asking(
        kind=kind,
        # Gemini's is in the path alone: what the body says of it is nobody's word.
        model=model_at(path)[0] if is_gemini else model_of(parsed, path),
        stream=model_at(path)[1] if is_gemini else parsed.get("stream") is True,
        # Which of several bounds a provider keeps to is not for us to guess.
        most_output=max(_counts(parsed, _BOUNDS) + _counts(config, _BOUNDS), default=None),
        bounds=frozenset(name for name in _BOUNDS if _counts(config if kind == "gemini" else parsed, (name,))),
        answers=max([1, *_counts(parsed, _ANSWERS), *_counts(config, _ANSWERS)]) * _prompts(parsed.get("prompt")),
        usage=isinstance(options, dict) and options.get("include_usage") is True,
        size=len(body),
        text=is_text,
        tier=_word(parsed.get("service_tier")),
        speed=_word(parsed.get("speed")),
        others=tuple([each for each in _list(parsed.get("models")) if isinstance(each, str)]),
        fetches=fetches,
        said=_word(parsed.get("model")),
    )


def model_of(parsed: object, path: str) -> str:
    """
    Return the model that a *parsed* request to a `plain` *path* names, the path's first: at Azure that is the
    deployment, whatever the body says. Empty for none.
    """
    named = _word(parsed.get("model")) if isinstance(parsed, dict) else ""
    return model_at(path)[0] or deployment_at(path) or named


def _beside(parsed: dict[str, object]) -> tuple[bool, bool]:
    """
    Tell whether all that a request sends is text in its body, and whether its provider may fetch more of it.
    """
    if isinstance(parsed.get("prompt"), dict):
        # One that OpenAI keeps: https://developers.openai.com/api/reference/resources/responses
        return False, True
    is_text, rest = True, [parsed]
    while rest:
        each: object = rest.pop()
        if isinstance(each, list):
            rest += each
        elif isinstance(each, dict):
            kind = each.get("type")
            names = [name for name, value in each.items() if value is not None and name not in _OWN]
            said = [*names, kind] if isinstance(kind, str) else names
            if any(_FETCHED.fullmatch(name) for name in said):
                return False, True
            is_text = is_text and _BESIDE.isdisjoint(said)
            # What a model has called a tool of the user's with (Anthropic).
            rest += [each[name] for name in names if not (name == "input" and kind == "tool_use")]
    return is_text, False


def _config(parsed: dict[str, object]) -> dict[str, object]:
    """
    Return the options of a request to Gemini, which takes both spellings of every name.
    """
    named = [parsed.get(name) for name in _CONFIGS]
    return {name: value for each in named if isinstance(each, dict) for name, value in each.items()}


def _counts(said: dict[str, object], names: tuple[str, ...]) -> list[int]:
    values = [said.get(name) for name in names]
    return [value for value in values if type(value) is int and 0 <= value <= MOST]


def _prompts(prompt: object) -> int:
    """
    Return how many prompts a completion has, each with answers of its own; a list of numbers is one, in tokens.
    """
    return max(1, len([each for each in _list(prompt) if not isinstance(each, int)]))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _guess(parsed: dict[str, object]) -> str:
    if isinstance(parsed.get("contents"), list):
        return "gemini"
    if not isinstance(parsed.get("model"), str):
        return ""
    if isinstance(parsed.get("messages"), list):
        # Anthropic needs max_tokens, and has its system prompt beside the messages.
        return "messages" if "max_tokens" in parsed and "system" in parsed else "chat"
    if "prompt" in parsed and not isinstance(parsed["prompt"], dict):
        return "completions"
    return "responses" if "input" in parsed or "prompt" in parsed else ""


def with_usage(body: bytes) -> bytes | None:
    """
    Add the wish for usage to the body of a streamed chat; None if it has it, or isn't one.

    Whatever else stands in the body stays as it is, byte by byte, and in its order.
    """
    if b'"stream"' not in body and b"\\" not in body:
        # Nearly always: no such name, nor one with an escape in it, so that nothing has to be parsed.
        return None
    parsed = parse(body)
    end = len(body.rstrip(b" \t\r\n"))
    # UTF-16 is JSON too, and nobody sends it.
    if not isinstance(parsed, dict) or body[end - 1 : end] != b"}" or b"\0" in body[:4]:
        return None
    if parsed.get("stream") is not True or not ("messages" in parsed or "prompt" in parsed):
        return None
    if "stream_options" not in parsed:
        return body[: end - 1] + b"," + _WISH + body[end - 1 :]
    options = parsed["stream_options"]
    return None if isinstance(options, dict) and options.get("include_usage") is True else _wishing(body, options)


def with_bound(body: bytes, name: str, tokens: int) -> bytes | None:
    """
    Add a bound on the answer's tokens to a request that states none; nothing else changes.

    Args:
        body: The request's body.
        name: The bound's name there: ``max_completion_tokens``, ``max_tokens`` or ``max_output_tokens``; or
            ``maxOutputTokens``, which stands in Gemini's ``generationConfig``.
        tokens: The bound.

    Returns:
        The new body; None if it is no JSON object, is empty, or has a value of that name.
    """
    parsed = parse(body)
    end = len(body.rstrip(b" \t\r\n"))
    if not isinstance(parsed, dict) or not parsed or body[end - 1 : end] != b"}" or b"\0" in body[:4]:
        return None
    text = body.decode("utf-8", "surrogatepass")
    found = _with_config(text, parsed, name, tokens) if name == _CONFIGURED else _with(text, parsed, name, str(tokens))
    return None if found is None else found.encode("utf-8", "surrogatepass")


def _with_config(text: str, parsed: dict[str, object], name: str, tokens: int) -> str | None:
    """
    Put a bound into the options that Gemini has in a place of their own; None if it is not clear where.
    """
    places = [place for place in _CONFIGS if parsed.get(place) is not None]
    place = places[0] if places else _CONFIGS[0]
    config = parsed.get(place)
    if config is None:
        return _with(text, parsed, place, f'{{"{name}":{tokens}}}')
    if len(places) > 1 or not isinstance(config, dict) or any(config.get(each) is not None for each in _BOUNDS):
        return None
    begin, end = _span(text, place)
    inner = _with(text[begin:end], config, name, str(tokens))
    return None if inner is None else text[:begin] + inner + text[end:]


def _with(text: str, parsed: dict[str, object], name: str, value: str) -> str | None:
    """
    Give *name* a *value* in *text*, a JSON object that was *parsed*; None if it has one that is not null.
    """
    if parsed.get(name) is not None:
        return None
    if name in parsed:
        begin, end = _span(text, name)
        return text[:begin] + value + text[end:]
    end = text.rindex("}")
    comma = "," if parsed else ""
    return f'{text[:end]}{comma}"{name}":{value}{text[end:]}'


def _wishing(body: bytes, options: object) -> bytes:
    """
    Put the wish into the ``stream_options`` that are there; what they say besides stays.
    """
    # Half a surrogate is no UTF-8, but Python's JSON takes it, and so may somebody's server.
    text = body.decode("utf-8", "surrogatepass")
    begin, end = _span(text, "stream_options")
    inner = text[begin:end]
    if not isinstance(options, dict):
        inner = '{"include_usage":true}'
    elif "include_usage" in options:
        at, stop = _span(inner, "include_usage")
        inner = f"{inner[:at]}true{inner[stop:]}"
    else:
        comma = "," if options else ""
        inner = f'{inner[:-1]}{comma}"include_usage":true}}'
    return (text[:begin] + inner + text[end:]).encode("utf-8", "surrogatepass")


def _span(text: str, name: str) -> tuple[int, int]:
    """
    Return where the value of the top-level key *name* stands in *text*, a valid JSON object; the last one counts.
    """
    decoder = json.JSONDecoder()
    at = _skip(text, text.index("{") + 1)
    found = (0, 0)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)
        _, at = decoder.raw_decode(text, begin)
        if key == name:
            found = (begin, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


class UsageHider:
    """
    Takes the chunk with the usage out of a stream whose client did not ask for it.

    Nothing else changes, and nothing is held back but a frame that may still turn out to be that chunk: one that has no
    choice in it so far, and is no longer than 16 KiB.
    """

    def __init__(self) -> None:
        self._held = b""
        self._is_open = False

    def feed(self, data: bytes) -> bytes:
        """
        Take the next *data* from upstream; return what goes to the client.
        """
        if not (self._held or self._is_open) and data.endswith(b"\n\n") and not _may_be_usage(data):
            # Nearly always: whole frames that are none of it.
            return data
        searched = max(0, len(self._held) - 4)
        held = self._held + data
        begin, out = 0, []
        while found := _BLANK.search(held, max(begin, searched)):
            frame = held[begin : found.end()]
            if self._is_open or not _is_usage(frame):
                out.append(frame)
            begin, self._is_open = found.end(), False
        rest = held[begin:]
        if self._is_open or _is_other(rest):
            # The rest of the frame goes as it comes, but for what may be the beginning of its end.
            self._is_open = True
            sure = len(rest.rstrip(b"\r\n"))
            out.append(rest[:sure])
            rest = rest[sure:]
        self._held = rest
        return b"".join(out)

    def finish(self) -> bytes:
        """
        Say that the stream is over; return what is left for the client.
        """
        rest, self._held = self._held, b""
        return b"" if not self._is_open and _is_usage(rest) else rest


def _may_be_usage(data: bytes) -> bool:
    """
    Tell whether one of the whole frames in *data* may be the chunk. Of many each would have to be looked at.
    """
    if b'"usage"' not in data:
        return False
    is_one = data.find(b"\n\n") == len(data) - 2 and b"\r" not in data
    return not (is_one and _is_other(data))


def _is_other(frame: bytes) -> bool:
    """
    Tell whether the beginning of a frame shows that it is not the chunk.
    """
    return len(frame) > LONGEST or _CHOSEN.search(frame) is not None


def _is_usage(frame: bytes) -> bool:
    """
    Tell whether a whole frame is the chunk with the usage: no choice, and usage that is not null.
    """
    if b'"usage"' not in frame or _is_other(frame):
        return False
    lines = [line[5:] for line in re.split(rb"\r\n|\r|\n", frame) if line.startswith(b"data:")]
    parsed = parse(b"\n".join(lines))
    return (
        isinstance(parsed, dict)
        and parsed.get("choices") == []
        and isinstance(parsed.get("usage"), dict)
        and not parsed.get("error")
    )
