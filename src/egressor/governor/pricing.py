"""
What a request to a language model may cost, and what its answer says that it did.

The worst case is as many tokens sent as the body has bytes, as many received as the request allows, or as the model's
longest answer has, or its context where that isn't known, of the dearest kind. An answer that says what it used is
charged at that; one that doesn't, at what was held, as unknown.

A request that doesn't say how long its answer may be would block budgets that are hardly touched, if it were always
held for at its worst. A `Cap` says how it can be bounded instead: to what a smaller hold pays for. What is likely is
what nearly all answers of the model at its endpoint had, to requests that didn't say so either.

A stream that its client leaves is charged at what was seen of it: tokens for the bytes that were sent and received, as
many as that model's answers of late had for theirs at most. As long as none has said what it used, or no text has come,
nobody knows, and all that was held is charged. So it is for good once an answer of the model had tokens that its text
has not: what a model thinks unseen is billed before its first word, and no answer tells how much of it the next one
will have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from egressor._core.learned import Costs, learn_most, observe, quantile, tokens
from egressor.dialects.asking import read_request, with_bound
from egressor.dialects.longest import bound_name, kept_bounds, longest_answer
from egressor.dialects.paths import is_count, kind_at, plain
from egressor.dialects.usage import completed
from egressor.ledger.plain import clean
from egressor.prices import PriceBook

from .money import PRICED

if TYPE_CHECKING:
    from egressor._core.usage import Usage
    from egressor.dialects.asking import Asking
    from egressor.dialects.usage import Reported
    from egressor.dialects.usage_stream import Streamed
    from egressor.policies.prices import Prices
    from egressor.prices.price import Price

__all__ = ["Cap", "Meter", "Pricing", "Quote", "Request"]

_FREE: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
# What a picture, a file or a sound beside the text is taken to be, in tokens.
_BESIDE: Final = 100_000
# Tokens that an answer is taken to have at most, where its request says nothing and may be estimated: few have more.
# Where only a model's context is known, and not how long its answers can be, none is let have more: its provider may
# refuse the request. Where neither is, none is let have more than is likely.
_USUAL: Final = 16_384
# What is likely of a model that doesn't think, until that is learned. Those whose answers may be longer than `_PLAIN`
# are taken to think: `_USUAL` is likely of them.
_LIKELY: Final = 4_096
_PLAIN: Final = 32_768
# No answer is bounded to fewer, however short all others were.
_LEAST: Final = 256
_ENOUGH: Final = 20
_NEARLY_ALL: Final = 990
_PICO: Final = 10**6
# What is on its way when a client leaves a stream, or is said by the time that its provider notices.
_LATE: Final = 16
# Fewer bytes for a token no text has, but for what stands around it, such as the names of tools: what is beyond that
# was thought. Not all who bill it say so: Anthropic and some servers have it in their output.
_BYTES: Final = 2
_AROUND: Final = 256
_MOST_MODELS: Final = 256
# Of so many answers, and of as many before them, the one that had most tokens for its bytes counts.
_RECENT: Final = 512


class Request(Protocol):
    """
    What is sent, as far as its price goes.
    """

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the path, and the body; None for one that can't be read now.
        """


class Cap(NamedTuple):
    """
    How the answer to a request that doesn't say how long it may be can be bounded.

    Attributes:
        name: The bound's name in the request, as `egressor.dialects.asking.with_bound` takes it.
        prices: The prices of which one will hold.
        sent: Tokens that it sends at most.
        answers: How many answers it asks for: each of them has the bound.
        most: Tokens that one answer may be bounded to at most.
        usual: Tokens that one answer is likely to have at most, no more than *most*.
        text: Whether all that it sends is text.
        where: The service, the endpoint and the model, of which answers are learned.
        always: Whether it has to be bounded, as nobody knows how long its answer may be otherwise.
    """

    name: str
    prices: tuple[Price, ...]
    sent: int
    answers: int
    most: int
    usual: int
    text: bool
    where: tuple[str, ...]
    always: bool

    @property
    def likely(self) -> int:
        """
        Micro-dollars that the request is likely to cost at most.
        """
        received = self.usual * self.answers
        return max(1, *[each.most(self.sent, received, text=self.text) for each in self.prices])

    def tokens(self, micro_usd: int) -> int:
        """
        Return how many tokens one answer may have so that the request costs no more than *micro_usd*, which is what is
        `likely` or more.
        """
        paid = [each.affords(micro_usd, self.sent, text=self.text) for each in self.prices]
        return min([self.most, *[each // self.answers for each in paid if each is not None]])


class Quote(NamedTuple):
    """
    What a request may cost.

    Attributes:
        micro_usd: Micro-dollars at most; None if nobody knows.
        model: The model that it names, or empty.
        why: Why nobody knows, or knows no less.
        size: Bytes that it sends, if that is all: 0 where there is more to it than text in its body.
        cap: How its answer can be bounded; None if it says so itself, or can't be.
    """

    micro_usd: int | None
    model: str = ""
    why: str = ""
    size: int = 0
    cap: Cap | None = None


class _Seen(NamedTuple):
    """
    Tokens for each four bytes that were sent and received, in millionths, at most: of the *latest* so many *answers*,
    and of the 512 *before* them.
    """

    latest: tuple[int, int] = (0, 0)
    before: tuple[int, int] = (0, 0)
    answers: int = 0


class Pricing:
    """
    The prices of one governor.

    Args:
        prices: The user's own, and what to do about an unknown model.
    """

    def __init__(self, prices: Prices) -> None:
        self.book = PriceBook(prices)
        # By dialect and model. Of two changes at once one may be lost, which the next makes good.
        self._seen: dict[tuple[str, str], _Seen] = {}
        # Those that have thought unseen; they stay.
        self._thinking: set[tuple[str, str]] = set()
        # How many tokens the answers had to requests that didn't say how long they may be.
        self._answers: dict[tuple[str, ...], Costs] = {}

    def quote(self, dialect: str, request: Request, now: int, *, service: str = "", endpoint: str = "") -> Quote:
        """
        Say what *request* to an *endpoint* of a *service* of *dialect* may cost at *now*.
        """
        if dialect not in PRICED:
            return Quote(None, why=f"requests of the dialect {dialect} have no price")
        method, path, body = request.asked()
        path = plain(path)
        if is_count(path):
            return Quote(0)
        # The path says what is asked for: what goes elsewhere may look like a chat, and cost a thousand times as much.
        is_known = bool(kind_at(path))
        asking = _read(request, body, path) if body and is_known else None
        if asking is None or body is None:
            if method in _FREE:
                return Quote(0)
            if is_known and body is None and (unread := getattr(request, "unread", "")):
                return Quote(None, why=unread)
            what = "body can't be read as" if is_known else "path is not known as that of"
            return Quote(None, why=f"its {what} a request to a language model")
        model = clean(asking.model)
        if dialect == "azure":
            asking = self._deployed(asking, now)
        prices = self._prices(asking, dialect, now)
        unknown = next((each.model for each in prices if each.unknown == "refuse"), None)
        if unknown is not None:
            return Quote(None, model, f"the model {clean(unknown) or 'that it does not name'} has no price")
        known = [longest_answer(each, dialect) for each in (asking.model, *asking.others)]
        longest = [each for each in known if each is not None] if None not in known else []
        windows = [each.window for each in prices if each.window is not None]
        window = max(windows) if len(windows) == len(prices) else None
        where = (service, endpoint or asking.kind, model)
        received, why, cap = self._length(asking, prices, dialect, body, where=where, longest=longest, window=window)
        if received is None:
            return Quote(None, model, why)
        sent, come = _sent(asking, window), received * asking.answers
        why = ", and ".join(filter(None, [why, _beside(asking, sent)]))
        most = max(1, *[each.most(sent, come, text=asking.text) for each in prices])
        return Quote(most, model, why, asking.size if asking.text else 0, cap)

    def _length(
        self,
        asking: Asking,
        prices: list[Price],
        dialect: str,
        body: bytes,
        *,
        where: tuple[str, ...],
        longest: list[int],
        window: int | None,
    ) -> tuple[int | None, str, Cap | None]:
        """
        Return how many tokens one answer may have at most, why nobody knows less, and how it can be bounded.
        """
        if asking.kind == "embeddings":
            return 0, "", None
        if asking.bounds & kept_bounds(asking.kind, dialect):
            return asking.most_output, "", None
        cap = self._cap(asking, prices, dialect, body, where=where, longest=longest, window=window)
        most = max(longest) if longest else window
        if cap is not None and asking.most_output is not None:
            # It says so in a word that this provider may not keep to, and is made to say it in one that it does.
            wished = min([asking.most_output, *longest])
            return wished, "", cap._replace(most=wished, usual=wished, always=True)
        if self.book.settings.on_unknown_price == "estimate":
            received = min([_USUAL, *longest])
            if cap is not None:
                bound = received if most is None else min(cap.most, received)
                cap = cap._replace(most=bound, usual=min(cap.usual, bound), always=True)
            return received, "", cap
        why = "it does not say how long its answer may be: max_tokens"
        if most is None and cap is not None:
            return cap.most, why, cap._replace(always=True)
        return most, why, cap

    def _cap(
        self,
        asking: Asking,
        prices: list[Price],
        dialect: str,
        body: bytes,
        *,
        where: tuple[str, ...],
        longest: list[int],
        window: int | None,
    ) -> Cap | None:
        """
        Say how the answer to a request can be bounded; None if it can't be.
        """
        name = bound_name(asking.kind, dialect, asking.model)
        if not name or with_bound(body, name, 1) is None:
            return None
        usual = self._usual(where, dialect, longest)
        # A bound above what a model can give is an error for many providers, and so is one that leaves no room for the
        # prompt, which has a token for each two bytes at most, as good as always.
        most = min(longest, default=usual if window is None else max(_USUAL, usual))
        if window is not None and asking.text:
            most = min(most, window - asking.size // _BYTES)
        if most < _LEAST:
            return None
        sent = _sent(asking, window)
        return Cap(name, tuple(prices), sent, asking.answers, most, min(usual, most), asking.text, where, always=False)

    def _usual(self, where: tuple[str, ...], dialect: str, longest: list[int]) -> int:
        """
        Return how many tokens an answer is likely to have at most.
        """
        known = self._answers.get(where)
        if known is not None and known.total >= _ENOUGH:
            return max(_LEAST, quantile(known, _NEARLY_ALL))
        thinks = min(longest) > _PLAIN if longest else (dialect, where[-1]) in self._thinking
        return _USUAL if thinks else _LIKELY

    def _deployed(self, asking: Asking, now: int) -> Asking:
        """
        Return a request to Azure with the names that have a price: its deployment's, which alone says what is asked,
        but may be any word, and its body's. Where both have one, the dearer will hold.
        """
        if not asking.said or asking.said == asking.model:
            return asking
        found = [self.book.find(each, at=now, provider="azure").unknown for each in (asking.model, asking.said)]
        if found[0] and not found[1]:
            return asking._replace(model=asking.said)
        return asking if found[1] else asking._replace(others=(*asking.others, asking.said))

    def _prices(self, asking: Asking, dialect: str, now: int) -> list[Price]:
        """
        Return the prices of which one will hold: a dearer tier may be denied, and another model may answer.
        """
        ways = {("", ""), (asking.tier, asking.speed)}
        return [
            self.book.find(model, at=now, provider=dialect, tier=tier, speed=speed)
            for model in (asking.model, *asking.others)
            for tier, speed in ways
        ]

    def meter(self, dialect: str, model: str, now: int, size: int = 0, cap: Cap | None = None) -> Meter | None:
        """
        Return what knows the cost of an answer, to a request of *size* bytes (0: nobody knows), by what it says that it
        used; None if it has none. What it says is learned if the request could have had a *cap*.
        """
        return Meter(self, dialect, model, now, size, cap) if dialect in PRICED else None

    def observe(self, where: tuple[str, ...], received: int) -> None:
        """
        Take in how many tokens an answer has had, of those that `Cap.where` names.
        """
        if where in self._answers or len(self._answers) < _MOST_MODELS:
            self._answers[where] = observe(self._answers.get(where, Costs()), received)

    def learn(self, dialect: str, model: str, sent: tuple[int, int], received: tuple[int, int], thought: int) -> None:
        """
        Take in how many tokens so many bytes were, *sent* and *received*, 0 bytes if nobody knows; and how many tokens
        of those received the model has *thought*, as far as its answer says so.
        """
        key = (dialect, model)
        if key in self._thinking or not (key in self._seen or len(self._seen) + len(self._thinking) < _MOST_MODELS):
            return
        size, tokens = received
        if thought or (size and tokens > size // _BYTES + _AROUND):
            self._thinking.add(key)
        elif size and sent[0]:
            seen = self._seen.get(key, _Seen())
            if seen.answers >= _RECENT:
                seen = _Seen(before=seen.latest)
            latest = (
                learn_most(seen.latest[0], utf8_bytes=sent[0], truth=sent[1]),
                learn_most(seen.latest[1], utf8_bytes=size, truth=tokens),
            )
            self._seen[key] = _Seen(latest, seen.before, seen.answers + 1)

    def factors(self, dialect: str, model: str) -> tuple[int, int] | None:
        """
        Return the tokens for each four bytes sent to a model and received from it, in millionths, the most that any
        answer of late had; None if nobody knows, as of a model that thinks unseen.
        """
        key = (dialect, model)
        seen = None if key in self._thinking else self._seen.get(key)
        return None if seen is None else (max(seen.latest[0], seen.before[0]), max(seen.latest[1], seen.before[1]))


class Meter(NamedTuple):
    """
    Knows the cost of one answer.

    Attributes:
        pricing: What it goes by.
        dialect: What the service speaks.
        model: The model that the request names.
        now: When it was sent, in microseconds since 1970.
        size: Bytes that were sent, as `Quote.size` has them; 0 if nobody knows.
        cap: How the answer could have been bounded; None if the request says how long it may be.
    """

    pricing: Pricing
    dialect: str
    model: str
    now: int
    size: int
    cap: Cap | None = None

    def observe(self, said: Streamed) -> None:
        """
        Learn from a whole answer how long the next ones may be.
        """
        if self.cap is not None and said.reported.said and said.ended and not said.failed:
            self.pricing.observe(self.cap.where, -(-said.reported.usage.received // self.cap.answers))

    def cost(self, said: Streamed) -> int | None:
        """
        Return what the answer did cost, in micro-dollars; None if it has not *said* so, or has not come to its end.
        """
        reported = said.reported
        if reported.said and said.ended:
            usage = reported.usage
            sent, received = (self.size, usage.sent), (said.text_bytes, usage.received)
            self.pricing.learn(self.dialect, self.model, sent, received, usage.reasoning)
        if reported.billed_pico_usd is not None:
            return -(-reported.billed_pico_usd // _PICO)
        if not said.ended or not reported.said:
            return None
        return self._priced(reported, reported.usage)

    def seen(self, said: Streamed) -> int | None:
        """
        Return what a stream that was left has cost by what was seen of it, in micro-dollars: as if its bytes had as
        many tokens as those of any answer of its model before it; None if nobody knows.
        """
        factors = self.pricing.factors(self.dialect, self.model)
        if factors is None or said.ended or said.failed or not said.text_bytes:
            return None
        if not self.size and "input" in said.reported.missing:
            return None
        sent, received = tokens(self.size, factors[0]), tokens(said.text_bytes, factors[1]) + _LATE
        usage = completed(said.reported, sent=sent, received=received)
        # What a stream says at its beginning of what it has received is true of its beginning.
        usage = usage._replace(output=usage.output + max(0, received - usage.received))
        return self._priced(said.reported, usage)

    def _priced(self, reported: Reported, usage: Usage) -> int:
        price = self.pricing.book.find(
            reported.model or self.model,
            at=self.now,
            provider=self.dialect,
            tier=reported.tier,
            speed=reported.speed,
        )
        return price.cost(usage).micro_usd


def _read(request: Request, body: bytes, path: str) -> Asking | None:
    # Where there are limits of tokens, it was read for those.
    known: tuple[bytes, Asking | None] | None = getattr(request, "asking", None)
    return known[1] if known is not None and known[0] is body else read_request(body, path)


def _beside(asking: Asking, sent: int) -> str:
    """
    Say why a request is taken to send more than it has bytes, *sent* tokens; empty if it is not.
    """
    if asking.text:
        return ""
    if asking.fetches:
        return f"what its provider may fetch or remember for it is taken to be up to {sent} tokens"
    return f"what it sends beside its text is taken to be {_BESIDE} tokens"


def _sent(asking: Asking, window: int | None) -> int:
    """
    Return the tokens that a request sends at most.

    That it sends no more than the model's context is no bound to go by: what a provider sells as an extra is longer.
    """
    most = asking.size + (0 if asking.text else _BESIDE)
    return max(most, window or 0) if asking.fetches else most
