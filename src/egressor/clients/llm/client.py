"""
The client: what is asked goes in, the story of `chain` is driven, and what came of it goes out.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from egressor._core.admission import check_cost, shown
from egressor.errors import ConfigError
from egressor.governor.route import Options, check_scope

from .asking import Asker, Open, Story, adriven, driven, hedged
from .chain import answering, chain
from .messages import read_choice, read_tools
from .schemas import Schema
from .sentiment import SCHEMA, SYSTEM, read_sentiment, read_text
from .streams import AsyncStream, Stream
from .wishes import Wish, check_hedge, read_messages, read_models, read_temperature, read_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from decimal import Decimal

    from egressor._core.model import Priority
    from egressor.governor import Governor

    from .answers import Answer, Sentiment
    from .messages import Message

__all__ = ["LLM"]

_MAX_TOKENS = 4096
Messages = str | Sequence[Mapping[str, Any]]


class LLM:
    """
    Chat with language models through *gov*, by the official SDKs.

    It may be used from any number of threads and event loops. Each request is a call of the governor's: limits,
    priorities, breakers, bans, budgets, retries and the cache of its service hold.

    Args:
        gov: The governor. It stays open when the client is closed.
        models: The chain: ``service/model`` each, tried in order, or one of them. The service's ``dialect`` says which
            SDK asks it, its ``base_url`` where, its ``api_key`` with which key (default: the SDK's own environment
            variable).
        max_tokens: Tokens that an answer may have at most, thought ones included, 1 to 10,000,000. Default: 4,096, as a
            request that doesn't say so can't be held to a budget.
        feature: What the calls are for, for rules and costs. Default: nothing.

    Raises:
        ConfigError: A model is not ``service/model``, or its service can't be asked.
    """

    def __init__(
        self, gov: Governor, models: str | Sequence[str], *, max_tokens: int = _MAX_TOKENS, feature: str | None = None
    ) -> None:
        self._gov = gov
        self._models = read_models(gov, models)
        self._max_tokens = read_tokens(max_tokens)
        self._feature = feature
        self._asker = Asker(gov)

    # --- asking ------------------------------------------------------------------------------------------------------

    def chat(  # noqa: PLR0913 - a setting each
        self,
        messages: Messages,
        *,
        system: str | None = None,
        schema: object = None,
        repair: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        priority: Priority | str | None = None,
        user: str | None = None,
        feature: str | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """
        Return a model's answer, blocking.

        Args:
            messages: What the user says; or the conversation, each with ``role`` (``system``, ``user``, ``assistant``,
                ``tool``) and ``content``: a text, or of a user's a list of texts and pictures. An assistant's may have
                the ``tool_calls`` of its answer, a tool's has the ``tool_call_id`` of the call that it answers.
            system: How the model is to behave; it comes before *messages*. Default: nothing.
            schema: The answer is to be JSON that fits this: a JSON Schema (a dictionary), or a pydantic model. The
                checked value is ``parsed``.
            repair: Whether an answer that doesn't fit is sent back once, with what is wrong: another call, which costs
                again. Default: False.
            tools: What the model may want called: ``name``, ``description`` and ``parameters``, a JSON Schema, each;
                OpenAI's own form is taken, too, and its ``strict``, which only OpenAI and Azure are sent. Not with
                *schema*. Default: nothing.
            tool_choice: ``auto``, ``none``, ``required``, or the name of one that is to be called. Default: not sent.
            max_tokens: As the client's. Default: the client's.
            temperature: From 0 to 2, as the provider reads it. Default: not sent, as many models refuse it.
            priority: `Priority` or its lower-case name. Default: the policy's.
            user: Who it is for, for rules and costs; the provider is not told. Default: nobody.
            feature: What it is for. Default: the client's.
            cost: Amounts by unit for the services' limits, ``{"tokens": 800}``. One request is added.
            deadline: Seconds in which all of it must be over: every model, retry, wait and repair. A model that is not
                the last of the chain has its service's ``max_wait`` and ``timeout`` together at most. Default: that,
                for each.

        Raises:
            Rejected: It was not sent, by the last model that was tried.
            BadAnswer: An answer came, but doesn't fit *schema*.
            ConfigError: An argument is not valid, or an SDK or its key is missing.
            Exception: What the last model's SDK raised, as it was raised; notes name the models before it.
        """
        wish = self._wish(
            read_messages(messages, system),
            schema=None if schema is None else Schema(schema),
            repair=repair,
            tools=tools,
            tool_choice=tool_choice,
            max_tokens=max_tokens,
            temperature=temperature,
            priority=priority,
            user=user,
            feature=feature,
            cost=cost,
            deadline=deadline,
        )
        answer: Answer = driven(self._answering(wish), self._asker.ask)
        return answer

    async def chat_async(  # noqa: PLR0913 - likewise
        self,
        messages: Messages,
        *,
        system: str | None = None,
        schema: object = None,
        repair: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        priority: Priority | str | None = None,
        user: str | None = None,
        feature: str | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
        hedge_after: float | None = None,
    ) -> Answer:
        """
        As `chat`, awaiting.

        Args:
            messages: As for `chat`; so are all others but the last.
            system: As for `chat`.
            schema: As for `chat`.
            repair: As for `chat`.
            tools: As for `chat`.
            tool_choice: As for `chat`.
            max_tokens: As for `chat`.
            temperature: As for `chat`.
            priority: As for `chat`.
            user: As for `chat`.
            feature: As for `chat`.
            cost: As for `chat`.
            deadline: As for `chat`.
            hedge_after: Seconds, above 0 to 3,600, after which the same is asked once more beside the first; the first
                good answer wins, and the other one is cancelled. Both pass the gate, and both may be billed. Only with
                a *max_tokens* of 1,024 at most. Default: never.
        """
        wish = self._wish(
            read_messages(messages, system),
            schema=None if schema is None else Schema(schema),
            repair=repair,
            tools=tools,
            tool_choice=tool_choice,
            max_tokens=max_tokens,
            temperature=temperature,
            priority=priority,
            user=user,
            feature=feature,
            cost=cost,
            deadline=deadline,
        )
        if hedge_after is None:
            return await self._answered(wish)
        return await hedged(lambda: self._answered(wish), check_hedge(hedge_after, wish.max_tokens))

    def stream(
        self,
        messages: Messages,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        priority: Priority | str | None = None,
        user: str | None = None,
        feature: str | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """
        Return the pieces of an answer as they come, blocking. The arguments are those of `chat`.

        A chain goes on only before the first piece; *deadline* bounds the time until then. Whatever breaks later is
        raised while it is iterated over.
        """
        wish = self._wish(
            read_messages(messages, system),
            max_tokens=max_tokens,
            temperature=temperature,
            priority=priority,
            user=user,
            feature=feature,
            cost=cost,
            deadline=deadline,
        )
        whole: list[Answer] = []
        return Stream(self._pieces(wish, whole), whole)

    def stream_async(
        self,
        messages: Messages,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        priority: Priority | str | None = None,
        user: str | None = None,
        feature: str | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
    ) -> AsyncStream:
        """
        As `stream`, awaiting: ``async for piece in llm.stream_async(…)``.
        """
        wish = self._wish(
            read_messages(messages, system),
            max_tokens=max_tokens,
            temperature=temperature,
            priority=priority,
            user=user,
            feature=feature,
            cost=cost,
            deadline=deadline,
        )
        whole: list[Answer] = []
        return AsyncStream(self._apieces(wish, whole), whole)

    def analyze_sentiment(self, text: str, **options: Any) -> Sentiment:
        """
        Return what *text* feels like, blocking.

        Args:
            text: The text; what it says is judged, not obeyed.
            **options: Those of `chat` but *system*, *schema* and *repair*. Default for *feature*: ``sentiment``.

        Raises:
            BadAnswer: The model gave no such judgement, nor when it was asked again.
            Exception: As for `chat`.
        """
        return read_sentiment(self.chat(read_text(text), **_judging(options)))

    async def analyze_sentiment_async(self, text: str, **options: Any) -> Sentiment:
        """
        As `analyze_sentiment`, awaiting; *hedge_after* of `chat_async` is among its options.
        """
        return read_sentiment(await self.chat_async(read_text(text), **_judging(options)))

    # --- ending ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """
        Close the connections of the blocking SDKs. The governor stays open.
        """
        self._asker.clients.close()

    async def aclose(self) -> None:
        """
        Close those of the running event loop, and the blocking ones.
        """
        await self._asker.clients.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _wish(  # noqa: PLR0913 - likewise
        self,
        messages: tuple[Message, ...],
        *,
        max_tokens: int | None,
        temperature: float | None,
        priority: Priority | str | None,
        user: str | None,
        feature: str | None,
        cost: Mapping[str, float | Decimal] | None,
        deadline: float | None,
        schema: Schema | None = None,
        repair: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | None = None,
    ) -> Wish:
        offered = read_tools(tools)
        if offered and schema is not None:
            msg = "a call of a tool fits no schema: tools, or schema"
            raise ConfigError(msg, key="tools")
        if type(repair) is not bool:
            msg = f"repair is true or false, not {shown(repair)}"
            raise ConfigError(msg, key="repair")
        feature = self._feature if feature is None else feature
        scope = {key: value for key, value in (("user", user), ("feature", feature)) if value is not None}
        said = Options(priority=priority, deadline=deadline)
        check_scope(scope)
        check_cost(cost or {})
        options = {"priority": priority, "scope": scope, "cost": cost}
        return Wish(
            messages=messages,
            max_tokens=self._max_tokens if max_tokens is None else read_tokens(max_tokens),
            temperature=read_temperature(temperature),
            options=options,
            until=None if said.deadline is None else self._gov.clock.now() + said.deadline,
            schema=schema,
            repair=repair,
            tools=offered,
            choice=read_choice(tool_choice, offered),
        )

    def _answering(self, wish: Wish) -> Story:
        return answering(self._models, wish, now=self._gov.clock.now, policy=self._asker.policy)

    def _chain(self, wish: Wish) -> Story:
        return chain(self._models, wish, now=self._gov.clock.now, policy=self._asker.policy)

    async def _answered(self, wish: Wish) -> Answer:
        answer: Answer = await adriven(self._answering(wish), self._asker.aask)
        return answer

    def _pieces(self, wish: Wish, whole: list[Answer]) -> Generator[str, None, None]:
        reached = driven(self._chain(wish), self._asker.open)
        opened: Open = reached.value
        try:
            if opened.first:
                yield opened.first
            for event in opened.events:
                if text := opened.heard.take(event):
                    yield text
        finally:
            opened.events.close()
        whole.append(self._asker.heard(opened, reached))

    async def _apieces(self, wish: Wish, whole: list[Answer]) -> AsyncGenerator[str, None]:
        reached = await adriven(self._chain(wish), self._asker.aopen)
        opened: Open = reached.value
        try:
            if opened.first:
                yield opened.first
            async for event in opened.events:
                if text := opened.heard.take(event):
                    yield text
        finally:
            await opened.events.close()
        whole.append(self._asker.heard(opened, reached))


def _judging(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"feature": "sentiment", **options, "system": SYSTEM, "schema": SCHEMA, "repair": True}
