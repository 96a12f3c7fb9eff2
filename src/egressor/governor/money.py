"""
A call's money: what it holds of which budgets, and what it came to.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from egressor._core import budget
from egressor._core.admission import Denied, Why
from egressor._core.charge import may_be_billed
from egressor._core.model import ErrorCategory, ServiceType
from egressor.dialects.asking import with_bound
from egressor.ledger.entry import new_id, stamp
from egressor.ledger.money import FREE, SPENT, UNKNOWN, Away, End, Tags, Want, shown_usd
from egressor.ledger.plain import clean
from egressor.policies.periods import asks_of

from .nesting import soon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from egressor._core.model import Verdict
    from egressor._core.steps import Done
    from egressor.ledger.history import History
    from egressor.ledger.till import MemoryTill, Till
    from egressor.policies import BudgetPolicy, Config, Policy
    from egressor.policies.prices import Prices

    from .pricing import Cap, Meter, Pricing, Request

__all__ = ["PRICED", "STATE_IT", "Money", "Purse", "may_ask_models", "standing"]

PRICED: Final = frozenset({"openai", "azure", "anthropic", "gemini", "openrouter", "groq", "mistral", "deepseek"})
"""
The dialects whose requests and answers can be priced.
"""

STATE_IT: Final = "; or state it as its cost in usd"
"""
What a program can do about a request that nobody can price; a client of the gateway can't.
"""

_LOG = logging.getLogger("egressor")
_NAME: Final = r"[A-Za-z0-9_.@+-]{1,64}"
_SOON: Final = 1_000_000
# How often it is told of a model that its answers are bounded, in microseconds, and of how many that is remembered.
_TOLD_AGAIN: Final = 3_600_000_000
_MOST_TOLD: Final = 256


def may_ask_models(policy: Policy) -> bool:
    """
    Whether requests to a service with *policy* may be to language models: its dialect or its type says so, or neither
    of them says anything.
    """
    if policy.dialect in PRICED or policy.type is ServiceType.LLM_API:
        return True
    return policy.type is None and policy.dialect in {"generic", "ietf"}


class Money:
    """
    The money of one governor's calls.

    Args:
        till: The way into the ledger.
        history: Where it is noted that a soft share is reached.
        wall: The time, in microseconds since 1970.
        prices: What requests are priced by.
    """

    def __init__(
        self, till: Till | MemoryTill, *, history: History, wall: Callable[[], int], prices: Prices | None = None
    ) -> None:
        self.till = till
        self.history = history
        self.wall = wall
        self.prices = prices
        # When it was last told that the answers of a service's model are bounded.
        self._told: dict[tuple[str, str], int] = {}

    @property
    def prices(self) -> Prices | None:
        """
        What requests are priced by; None for the public prices.
        """
        return self._prices

    @prices.setter
    def prices(self, prices: Prices | None) -> None:
        self._prices = prices
        self._pricing: Pricing | None = None

    @property
    def pricing(self) -> Pricing:
        """
        The prices, loaded at the first request that needs one, if `load` was not called before.
        """
        if self._pricing is None:
            from egressor.policies.prices import Prices

            from .pricing import Pricing

            self._pricing = Pricing(self._prices or Prices())
        return self._pricing

    def load(self, config: Config) -> None:
        """
        Load the prices if requests to one of *config*'s services will be priced: it takes 30 milliseconds, in which a
        request would keep its event loop from everything else.
        """
        priced = [policy for policy in config.services.values() if policy.dialect in PRICED]
        if priced and (config.gateway.has_budgets or any(policy.has_budgets for policy in priced)):
            # The public prices are read at the first question.
            self.pricing.book.find("gpt-4o", at=self.wall())

    @staticmethod
    def can_price(dialect: str) -> bool:
        """
        Whether requests to a service of *dialect* are priced.
        """
        return dialect in PRICED

    def tell_cap(self, tags: Tags, most: int) -> None:
        """
        Tell the log that an answer may have *most* tokens, since no more is held for it: of each model once an hour.
        """
        key, now = (tags.service, tags.model), self.wall()
        if key not in self._told and len(self._told) >= _MOST_TOLD:
            self._told.clear()
        if now - self._told.get(key, -_TOLD_AGAIN) >= _TOLD_AGAIN:
            self._told[key] = now
            text = "%s: an answer of %s gets %d tokens at most: no more is held for a request without max_tokens"
            _LOG.warning(text, tags.service, tags.model or "a model", most)

    def purse(
        self,
        service: str,
        policy: Policy,
        scope: Mapping[str, str],
        request: Request | None = None,
        *,
        payer: tuple[str, BudgetPolicy] | None = None,
    ) -> Purse | None:
        """
        Return the purse of a call; None if no budget applies to it.

        Args:
            service: Where the call goes.
            policy: Its policy.
            scope: Who and what for.
            request: What is sent, if it has to be priced.
            payer: Who else pays for it, and the budget, if there is one: a client's key.
        """
        quote = None
        if request is not None:
            endpoint = scope.get("endpoint", "")
            quote = self.pricing.quote(policy.dialect, request, self.wall(), service=service, endpoint=endpoint)
        if quote is not None and quote.model and "model" not in scope:
            scope = {**scope, "model": quote.model}
        owners = _owners(service, policy, scope)
        if payer is not None:
            owners.append(payer)
        if not owners:
            return None
        purse = Purse(self, service, owners, scope)
        purse.dialect = policy.dialect
        if quote is not None:
            purse.estimate = quote.micro_usd
            purse.why = quote.why
            purse.is_priced = True
            purse.size = quote.size
            purse.cap = quote.cap
            if quote.cap is not None and quote.cap.always and quote.why and not purse.is_bound:
                purse.estimate = None
        return purse


class Purse:
    """
    The money of one call.

    Args:
        money: What all calls share.
        service: Where the call goes.
        owners: Whose budgets apply, with what they are.
        scope: Who and what the call is for.

    Attributes:
        truth: What the attempt did cost, in micro-dollars, if somebody has said so.
        verdict: What the attempt came to; None if none was made. One that costs nothing is no part of what calls inside
            of it have cost, either.
        estimate: What an attempt may cost, in micro-dollars; None if nobody knows, and then nothing is held.
        why: Why nobody knows, or why it is so much.
        dialect: What the service speaks.
        seen: What a stream has cost, in micro-dollars, by what was seen of it; None if nobody can tell by that. It
            counts if the stream was left.
        size: Bytes that a priced request sends.
        is_priced: Whether *estimate* is the worst case of a request: if its answer doesn't say what it has cost, nobody
            knows.
        is_soft: Whether the soft share of one of its budgets was reached in the period of the last hold.
        is_bound: Whether anything bounds it. Else it is only added up, and nothing that is amiss with money stops it.
        cap: How the answer can be bounded; None if the request says itself how long it may be, or it can't be.
        max_tokens: Tokens that the answer to the last attempt was bounded to; None if it was not.
    """

    __slots__ = (
        *("_amount", "_around", "_id", "_inside", "_money", "_number", "_owners", "_paid", "_tags"),
        *("cap", "dialect", "estimate", "is_bound", "is_priced", "is_soft", "max_tokens", "seen", "size"),
        *("truth", "verdict", "why"),
    )

    def __init__(
        self, money: Money, service: str, owners: list[tuple[str, BudgetPolicy]], scope: Mapping[str, str]
    ) -> None:
        self._money = money
        self._owners = owners
        self.is_bound = any(policy.is_bound for _, policy in owners)
        self._tags = Tags(service, *(clean(scope.get(key, "")) for key in ("model", "feature", "user")))
        self._id = ""
        self._amount = 0
        # What attempts that are over have cost; None once nobody knows.
        self._paid: int | None = 0
        # What calls inside of the attempt were charged, to all of this one's budgets; which attempt it is; and whom
        # this one tells what it was charged, if the attempt around it is still the same then.
        self._inside = 0
        self._number = 0
        self._around: Sequence[tuple[Purse, int]] = ()
        self.truth: int | None = None
        self.seen: int | None = None
        self.size = 0
        self.verdict: Verdict | None = None
        self.estimate: int | None = None
        self.why = ""
        self.dialect = ""
        self.is_priced = False
        self.is_soft = False
        self.cap: Cap | None = None
        self.max_tokens: int | None = None

    @property
    def cost(self) -> int | None:
        """
        What the call has cost, in micro-dollars, all attempts together; None if nobody knows that, or not yet.
        """
        if self._paid is None or not self._id:
            return self._paid
        return None if self.truth is None else self._paid + self.truth

    @property
    def owners(self) -> Sequence[tuple[str, BudgetPolicy]]:
        """
        Whose budgets apply, with what they are.
        """
        return self._owners

    @property
    def is_held(self) -> bool:
        """
        Whether it holds money.
        """
        return bool(self._id)

    def nest(self, payers: Sequence[Purse]) -> None:
        """
        Let each of *payers*, who pay for the calls around this one, be charged as much less as this one is charged.

        Of whoever has a budget that this one has not, nothing is taken off: nobody else would be charged to that.
        """
        self._around = [
            (each, each._number)  # noqa: SLF001 - of the same class
            for each in payers
            if all(owner in self._owners for owner in each.owners)
        ]

    def judge(self, verdict: Verdict) -> None:
        """
        Note what an attempt came to.
        """
        self.verdict = verdict
        if not verdict.ok and not may_be_billed(verdict):
            # It costs nothing, of which nothing can be taken off; and the next attempt's cost is another.
            self._next()

    def hold(self, micro_usd: int) -> object | Denied:
        """
        Hold *micro_usd* of each budget, or say why not; blocking, for a quarter of a second at most.
        """
        if self.estimate is None:
            if self.is_bound:
                return self._unpriced()
            micro_usd = 0
        want = self._want(micro_usd)
        return self._held(want, self._money.till.hold(want))

    async def ahold(self, micro_usd: int) -> object | Denied:
        """
        As `hold`, awaiting.
        """
        if self.estimate is None:
            if self.is_bound:
                return self._unpriced()
            micro_usd = 0
        want = self._want(micro_usd)
        return self._held(want, await self._money.till.ahold(want))

    def charge(self, hold: object, done: Done | None) -> None:  # noqa: ARG002 - it is the only one
        """
        End what is held, by what is known of the attempt.
        """
        key, self._id = self._id, ""
        if not key:
            return
        how, cost = self._ending()
        charged = max(0, cost - self._inside)
        self._paid = None if self._paid is None or how == UNKNOWN else self._paid + charged
        self._money.till.end(End(key, how, self._amount - charged if how == UNKNOWN else charged))
        self.truth = self.seen = self.verdict = None
        self._next()
        if charged:
            for purse, number in self._around:
                soon(partial(purse.cover, charged, number))

    def close(self) -> None:
        """
        End what is held, if anything is still, for good; from anywhere, a finaliser too.
        """
        self.charge(None, None)
        # Tasks that start each other would make a chain of these without an end.
        self._around = ()

    def cover(self, micro_usd: int, number: int) -> None:
        """
        Take *micro_usd*, which a call inside of attempt *number* was charged, off what that one will be charged.
        """
        if number == self._number:
            self._inside += micro_usd

    def _next(self) -> None:
        self._inside = 0
        self._number += 1

    def meter(self) -> Meter | None:
        """
        Return what knows the cost of an answer by what it says that it used; None if nobody does.
        """
        money = self._money
        return money.pricing.meter(self.dialect, self._tags.model, money.wall(), self.size, self.cap)

    def bounded(self, body: bytes) -> bytes:
        """
        Return a request's *body* with the bound that the hold pays for; as it is if the hold pays for the worst case.
        """
        if self.cap is None or self.max_tokens is None:
            return body
        bounded = with_bound(body, self.cap.name, self.max_tokens)
        assert bounded is not None  # noqa: S101 - it was when it was priced
        return bounded

    def _unpriced(self) -> Denied:
        text = f"it has a budget, and nobody knows what the call may cost: {self.why}{STATE_IT}"
        return Denied(Why.BUDGET, "price", None, text)

    def _ending(self) -> tuple[str, int]:
        if self.truth is not None:
            return SPENT, self.truth
        if self.verdict is None:
            return FREE, 0
        if self.verdict.ok and not self.is_priced:
            return SPENT, self._amount
        if self.seen is not None and (self.verdict.ok or self.verdict.category is ErrorCategory.CANCELLED):
            return UNKNOWN, min(self.seen, self._amount)
        return (UNKNOWN, self._amount) if may_be_billed(self.verdict) else (FREE, 0)

    def _want(self, micro_usd: int) -> Want:
        now = self._money.wall()
        asks = tuple(ask for owner, policy in self._owners for ask in asks_of(policy, owner, now))
        likely = self.cap.likely if self.cap is not None and self.is_bound else None
        return Want(new_id(now), self._money.till.owner, asks, micro_usd, self._tags, likely)

    def _held(self, want: Want, answer: budget.Held | budget.Denied | Away) -> object | Denied:
        if isinstance(answer, Away):
            if not self.is_bound:
                self._paid = None
                return ""
            text = f"the ledger is away, and without it no budget can be kept: {answer.text}"
            return Denied(Why.STORE, "ledger", _SOON, text)
        if isinstance(answer, budget.Denied):
            return _denied(want, answer, self._money.wall(), self.why)
        self._id, self._amount = want.id, answer.hold.amount
        self.truth = self.seen = self.verdict = None
        self.is_soft = any(cell.warned for cell in answer.cells.values())
        self.max_tokens = None
        if self.cap is not None and want.likely is not None and (answer.capped or self.cap.always):
            self.max_tokens = self.cap.tokens(self._amount)
            self._money.tell_cap(self._tags, self.max_tokens)
        limits = {ask.key: ask.limit for ask in want.asks}
        for key in answer.warned:
            limit = shown_usd(limits[key])
            _LOG.warning("%s: the soft share of the budget %s of %s USD is reached", self._tags.service, key, limit)
            self._money.history.note("budget", "soft", service=self._tags.service, data={"budget": key, "usd": limit})
        return want.id


def standing(config: Config, now: int) -> list[budget.Ask]:
    """
    Return the budgets of *config* at *now* that are not one for each value of something.
    """
    found: list[budget.Ask] = []
    for key in config.gateway.keys:
        found += [] if key.budget is None else asks_of(key.budget, key.owner, now)
    for service, policy in config.services.items():
        named = [(service, policy.budget)]
        named += [(f"{service}[{rule.name}]", rule.budget) for rule in policy.rules if "*" not in rule.match.values()]
        found += [ask for owner, each in named if each is not None for ask in asks_of(each, owner, now)]
    return found


def _denied(want: Want, no: budget.Denied, now: int, why: str) -> Denied:
    limit = next(ask.limit for ask in want.asks if ask.key == no.key)
    least = want.worst if want.likely is None else min(want.worst, want.likely)
    need, whole, left = shown_usd(least), shown_usd(limit), shown_usd(no.left)
    need = f"{need} USD, as {why}" if why else f"{need} USD"
    if no.why == "never":
        return Denied(Why.BUDGET, no.key, None, f"a cost of {need} can never fit the budget {no.key} of {whole} USD")
    text = f"the budget {no.key} of {whole} USD has {left} USD left, and the call may cost {need}"
    if no.why == "in_flight":
        return Denied(Why.BUDGET, no.key, _SOON, f"{text}: calls under way hold the rest, and may give some of it back")
    if no.renews_at is None:
        return Denied(Why.BUDGET, no.key, None, f"{text}; it does not renew")
    return Denied(Why.BUDGET, no.key, max(0, no.renews_at - now), f"{text}; it renews at {stamp(no.renews_at)}")


def _owners(service: str, policy: Policy, scope: Mapping[str, str]) -> list[tuple[str, BudgetPolicy]]:
    found = []
    if policy.budget is not None:
        found.append((service, policy.budget))
    for rule in policy.rules_for(scope):
        if rule.budget is not None:
            values = [_told(scope[key]) for key, value in rule.match.items() if value == "*"]
            found.append((f"{service}[{':'.join([rule.name, *values])}]", rule.budget))
    return found


def _told(value: str) -> str:
    """
    Return *value* as a part of a budget's name; one that is long, or may be a secret, only by its hash.
    """
    if re.fullmatch(_NAME, value) and clean(value) == value:
        return value
    return "#" + sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
