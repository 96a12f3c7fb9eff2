"""
How two APIs are asked and read: OpenAI's chat completions, which many others speak too, and Anthropic's messages.

All of it is values: what an SDK's ``create`` is called with, and what its answers say as plain JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from egressor.dialects.bodies import dig
from egressor.errors import ConfigError

from .answers import BadAnswer, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor.policies import Policy

    from .messages import Message
    from .wishes import Wish

__all__ = ["ANTHROPIC", "OPENAI", "Said", "Vendor", "speech_of", "vendor_of"]

# Whose API a service that says no more than its address is.
_HOSTS: Final = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
_OWN: Final = frozenset({"generic", "openai"})
_ALIKE: Final = frozenset({"azure", "deepseek", "gemini", "groq", "mistral", "openrouter"})
# Who documents structured outputs by a schema, and who only that the answer be JSON.
# https://platform.openai.com/docs/guides/structured-outputs, https://openrouter.ai/docs/features/structured-outputs
_BY_SCHEMA: Final = frozenset({"openai", "azure", "openrouter"})
# https://api-docs.deepseek.com/guides/json_mode, https://console.groq.com/docs/structured-outputs,
# https://docs.mistral.ai/capabilities/structured_output/json_mode
_BY_WORD: Final = frozenset({"deepseek", "groq", "mistral"})
# https://platform.openai.com/docs/api-reference/chat/create: max_tokens is deprecated there, and refused by models that
# think; the others know no other name.
_COMPLETION: Final = frozenset({"openai", "azure"})
# As in `egressor.dialects.asking`: others may refuse the word.
_USAGE_ASKED: Final = frozenset({"openai", "azure", "deepseek", "openrouter"})
_STRICT: Final = frozenset({"openai", "azure"})
_CHOICES: Final = frozenset({"auto", "none", "required"})
# https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
_ANTHROPIC_CHOICES: Final = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_ENDS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "refused",
    "refusal": "refused",
    "tool_use": "tool_calls",
}


class Said(NamedTuple):
    """
    What an answer, or a piece of a stream, says.

    Attributes:
        text: What the model wrote.
        finish: Why it ended; empty if it did not say so.
        calls: The tools that it wants called.
    """

    text: str
    finish: str = ""
    calls: tuple[ToolCall, ...] = ()


class Vendor(NamedTuple):
    """
    One API.

    Attributes:
        package: The SDK's module, and its name on PyPI.
        blocking: The name of its client's class.
        awaiting: The name of its awaiting client's class.
        variables: Environment variables in which the SDK looks for a key.
        method: The way from a client to its ``create``.
        asked: Says what ``create`` is called with: of a model's name, a dialect, a wish, and whether it streams.
        read: Reads a whole answer.
        piece: Reads a piece of a stream.
    """

    package: str
    blocking: str
    awaiting: str
    variables: tuple[str, ...]
    method: tuple[str, ...]
    asked: Callable[..., dict[str, Any]]
    read: Callable[[object], Said]
    piece: Callable[[object], Said]


def speech_of(policy: Policy) -> str:
    """
    Return the dialect in which a service is asked: its own; of a generic one, that of the vendor whose address it has.
    """
    if policy.dialect != "generic":
        return policy.dialect
    if policy.base_url is None:
        return "openai"
    return _HOSTS.get(urlsplit(policy.base_url).hostname or "", "generic")


def vendor_of(service: str, policy: Policy) -> Vendor:
    """
    Return who is asked at *service*: its policy's dialect or address says so.

    Raises:
        ConfigError: The dialect is none of a language model, or can't do without the ``base_url`` that is missing.
    """
    dialect = policy.dialect
    if speech_of(policy) == "anthropic":
        return ANTHROPIC
    if dialect not in _OWN | _ALIKE:
        msg = f"the dialect {dialect} is none of a language model: {', '.join(sorted(_OWN | _ALIKE | {'anthropic'}))}"
        raise ConfigError(msg, key=f"services.{service}.dialect")
    if policy.base_url is None and dialect not in _OWN:
        # The SDK would send this service's key to OpenAI.
        msg = f"a service of the dialect {dialect} needs it: the address of its API in OpenAI's form"
        raise ConfigError(msg, key=f"services.{service}.base_url")
    if policy.base_url is None and dialect == "generic" and service in _ALIKE | {"anthropic"}:
        msg = f'without it {service} would be taken for OpenAI\'s API: dialect = "{service}"'
        raise ConfigError(msg, key=f"services.{service}.dialect")
    return OPENAI


# --- OpenAI's chat completions, https://platform.openai.com/docs/api-reference/chat -----------------------------------


def _openai_asked(name: str, dialect: str, wish: Wish, *, stream: bool) -> dict[str, Any]:
    bound = "max_completion_tokens" if dialect in _COMPLETION else "max_tokens"
    asked: dict[str, Any] = {"model": name, "messages": [_openai_message(each) for each in _instructed(wish)]}
    asked[bound] = wish.max_tokens
    if wish.temperature is not None:
        asked["temperature"] = wish.temperature
    if wish.schema is not None and dialect in _BY_SCHEMA:
        # Not strict: that would refuse schemas with optional properties. The answer is checked anyway.
        form = {"name": "answer", "schema": wish.schema.table, "strict": False}
        asked["response_format"] = {"type": "json_schema", "json_schema": form}
    elif wish.schema is not None and dialect in _BY_WORD:
        asked["response_format"] = {"type": "json_object"}
    if wish.tools:
        asked["tools"] = [{"type": "function", "function": _openai_tool(each, dialect)} for each in wish.tools]
    if wish.choice:
        is_word = wish.choice in _CHOICES
        asked["tool_choice"] = wish.choice if is_word else {"type": "function", "function": {"name": wish.choice}}
    if stream:
        asked["stream"] = True
        if dialect in _USAGE_ASKED:
            asked["stream_options"] = {"include_usage": True}
    return asked


def _openai_tool(tool: Mapping[str, Any], dialect: str) -> dict[str, Any]:
    # https://platform.openai.com/docs/guides/function-calling#strict-mode; others may refuse the word.
    return {name: value for name, value in tool.items() if name != "strict" or dialect in _STRICT}


def _openai_message(message: Message) -> Message:
    content = message["content"]
    if isinstance(content, list):
        return {**message, "content": [_openai_part(each) for each in content]}
    if "tool_calls" in message:
        calls = [
            {
                "id": each.id,
                "type": "function",
                "function": {"name": each.name, "arguments": json.dumps(each.arguments or {})},
            }
            for each in message["tool_calls"]
        ]
        return {**message, "content": content or None, "tool_calls": calls}
    return message


def _openai_part(part: dict[str, str]) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    # https://platform.openai.com/docs/guides/images-vision: one that is sent along is a URL of its data.
    url = part.get("url") or f"data:{part['media_type']};base64,{part['data']}"
    return {"type": "image_url", "image_url": {"url": url}}


def _instructed(wish: Wish) -> list[Message]:
    # In words everywhere: json_object needs them, and what a provider does with a schema is its own affair.
    messages = list(wish.messages)
    return messages if wish.schema is None else [{"role": "system", "content": wish.schema.words}, *messages]


def _openai_read(said: object) -> Said:
    message = dig(said, ("choices", 0, "message"))
    if not isinstance(message, dict):
        msg = "the answer is no chat completion: it has no message"
        raise BadAnswer(msg)
    refusal = _text(message.get("refusal"))
    finish = _finish(dig(said, ("choices", 0, "finish_reason")))
    calls = [_openai_call(each) for each in _list(message.get("tool_calls"))]
    return Said(_text(message.get("content")) or refusal, "refused" if refusal else finish, tuple(calls))


def _openai_call(said: object) -> ToolCall:
    given = dig(said, ("function", "arguments"))
    # Some models say nothing where there is nothing to say.
    arguments = _parsed(_text(given)) if given else {}
    return _call(dig(said, ("id",)), dig(said, ("function", "name")), arguments)


def _call(key: object, name: object, arguments: object) -> ToolCall:
    found = {str(each): value for each, value in arguments.items()} if isinstance(arguments, dict) else None
    return ToolCall(id=_text(key), name=_text(name), arguments=found)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _openai_piece(said: object) -> Said:
    delta = dig(said, ("choices", 0, "delta"))
    found = delta if isinstance(delta, dict) else {}
    refusal = _text(found.get("refusal"))
    finish = _finish(dig(said, ("choices", 0, "finish_reason")))
    return Said(_text(found.get("content")) or refusal, "refused" if refusal else finish)


# --- Anthropic's messages, https://docs.claude.com/en/api/messages ----------------------------------------------------


def _anthropic_asked(name: str, dialect: str, wish: Wish, *, stream: bool) -> dict[str, Any]:  # noqa: ARG001 - it has one
    messages = _instructed(wish)
    system = "\n\n".join(each["content"] for each in messages if each["role"] == "system")
    rest = _anthropic_messages([each for each in messages if each["role"] != "system"])
    asked: dict[str, Any] = {"model": name, "messages": rest, "max_tokens": wish.max_tokens}
    if wish.tools:
        asked["tools"] = [
            {"name": each["name"], "description": each["description"], "input_schema": each["parameters"]}
            for each in wish.tools
        ]
    if wish.choice:
        asked["tool_choice"] = _ANTHROPIC_CHOICES.get(wish.choice, {"type": "tool", "name": wish.choice})
    if system:
        asked["system"] = system
    if wish.temperature is not None:
        # The SDK names it no longer; older models take it.
        asked["extra_body"] = {"temperature": wish.temperature}
    if stream:
        asked["stream"] = True
    return asked


def _anthropic_messages(messages: list[Message]) -> list[Message]:
    found: list[Message] = []
    for each in messages:
        role, content = each["role"], each["content"]
        if role == "tool":
            result = {"type": "tool_result", "tool_use_id": each["tool_call_id"], "content": content}
            # All results of one answer are one message of the user's.
            if found and found[-1]["role"] == "user" and _is_results(found[-1]["content"]):
                found[-1]["content"].append(result)
            else:
                found.append({"role": "user", "content": [result]})
        elif "tool_calls" in each:
            text = [{"type": "text", "text": content}] if content.strip() else []
            uses = [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments or {}}
                for call in each["tool_calls"]
            ]
            found.append({"role": role, "content": [*text, *uses]})
        elif isinstance(content, list):
            found.append({"role": role, "content": [_anthropic_part(part) for part in content]})
        else:
            found.append(each)
    return found


def _is_results(content: object) -> bool:
    return isinstance(content, list) and content[-1]["type"] == "tool_result"


def _anthropic_part(part: dict[str, str]) -> dict[str, Any]:
    # https://docs.claude.com/en/docs/build-with-claude/vision
    if part["type"] == "text":
        return part
    if "url" in part:
        return {"type": "image", "source": {"type": "url", "url": part["url"]}}
    return {"type": "image", "source": {"type": "base64", "media_type": part["media_type"], "data": part["data"]}}


def _anthropic_read(said: object) -> Said:
    content = dig(said, ("content",))
    if not isinstance(content, list):
        msg = "the answer is no message: it has no content"
        raise BadAnswer(msg)
    text = "".join(_text(dig(each, ("text",))) for each in content if dig(each, ("type",)) == "text")
    uses = [each for each in content if dig(each, ("type",)) == "tool_use"]
    calls = tuple([_call(dig(each, ("id",)), dig(each, ("name",)), dig(each, ("input",))) for each in uses])
    return Said(text, _finish(dig(said, ("stop_reason",))), calls)


def _anthropic_piece(said: object) -> Said:
    kind = dig(said, ("type",))
    if kind == "content_block_delta":
        return Said(_text(dig(said, ("delta", "text"))))
    return Said("", _finish(dig(said, ("delta", "stop_reason"))) if kind == "message_delta" else "")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _finish(value: object) -> str:
    return _ENDS.get(value, value) if isinstance(value, str) else ""


OPENAI: Final = Vendor(
    "openai",
    "OpenAI",
    "AsyncOpenAI",
    ("OPENAI_API_KEY",),
    ("chat", "completions"),
    _openai_asked,
    _openai_read,
    _openai_piece,
)
ANTHROPIC: Final = Vendor(
    "anthropic",
    "Anthropic",
    "AsyncAnthropic",
    ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    ("messages",),
    _anthropic_asked,
    _anthropic_read,
    _anthropic_piece,
)
