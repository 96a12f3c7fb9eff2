"""
A call's tokens: what a request to a language model is expected to take of limits of tokens, and what it came to.

Where a service has such limits, what its requests take is not for their programs to say: it is expected by the text
that they send and the answer that they allow, asked for along with everything else, and settled by what the answer says
that it used. A cost in tokens that a program does state stays as it is.
"""

from __future__ import annotations

import re
from copy import copy
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

from egressor._core.admission import Denied, Why
from egressor._core.charge import may_be_billed
from egressor._core.learned import tokens
from egressor._core.tokens import Habits, Prompt, amounts, charged, expected, fitted
from egressor.dialects.asking import model_of, read_parsed
from egressor.dialects.paths import has_no_text, is_count, kind_at, plain
from egressor.dialects.prompts import BESIDE, measured
from egressor.dialects.usage import completed, parse
from egressor.ledger.plain import clean

from .calls import rejection
from .money import PRICED
from .route import Route
from .tokenizers import measure_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor._core.admission import Lease
    from egressor._core.model import Verdict
    from egressor.dialects.usage_stream import Streamed
    from egressor.policies import Rule
    from egressor.stores.gate import Gate

__all__ = ["Tally", "counted"]

# A field of a form with files (RFC 7578).
_FIELD: Final = re.compile(rb'; name="?model"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,200})\r\n--')
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "UPGRADE"})


class _Request(NamedTuple):
    """
    A request to a language model.

    Attributes:
        kind: Its kind, as `egressor.dialects.asking.Asking` names it; empty where all that is known is its model.
        model: The model that it names, or empty.
        prompt: What it sends and allows.
        text: Whether all that it sends is text, and in its body.
    """

    kind: str
    model: str
    prompt: Prompt
    text: bool = False


class Tally:
    """
    The tokens of one call.

    Attributes:
        lease: What the attempt under way was admitted under; None once it is settled how many tokens it took.
    """

    __slots__ = ("_dialect", "_gate", "_habits", "_key", "_prompt", "_sent", "_units", "lease")

    def __init__(
        self, gate: Gate, habits: Habits, key: tuple[str, ...], *, prompt: Prompt, sent: int, units: tuple[str, ...]
    ) -> None:
        self._gate = gate
        self._dialect = gate.compiled.policy.dialect
        self._habits = habits
        self._key = key
        self._prompt = prompt
        self._sent = sent
        self._units = units
        self.lease: Lease | None = None

    def settle(self, said: Streamed) -> None:
        """
        Put what an answer has *said* that it used in the place of what was expected, and learn from it.

        Of one that came to its end without saying so its text is counted; of one that was cut off nobody knows.
        A second time nothing happens.
        """
        reported = said.reported
        if self.lease is None or not said.ended or not (reported.said or said.text_bytes):
            return
        usage = completed(reported, sent=self._sent, received=tokens(said.text_bytes))
        sent, received = charged(usage, self._dialect)
        if reported.said:
            self._habits.learn(self._key, self._prompt, sent=sent, received=received)
        self._adjust(sent, received)

    def judge(self, verdict: Verdict) -> None:
        """
        Give back what was expected of an attempt that never reached its server, or that the server has refused.
        """
        if not verdict.ok and not may_be_billed(verdict):
            self._adjust(0, 0)

    def _adjust(self, sent: int, received: int) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            truth = amounts(sent, received)
            self._gate.adjust(lease, {unit: truth[unit] for unit in self._units})


def counted(route: Route, wish: Any) -> Route:
    """
    Return *route* with what the request of *wish* is expected to take of limits of tokens, and give *wish* its tally.

    The model that a request names is its scope's, if it has no other: rules may match it, and what the server says of
    one model holds no other back. A request to something else goes as it is.

    Raises:
        Rejected: A rule bounds some model, and nobody knows the request's.
    """
    options, gate = route.options, route.gate
    compiled = gate.compiled
    is_priced = compiled.policy.dialect in PRICED
    if not (is_priced or compiled.tokens):
        return route
    stated: Any = options.cost or {}
    scope = options.scope or {}
    if callable(stated) or callable(scope) or not options.limited or not hasattr(wish, "asked"):
        return route
    request = _read(wish, is_priced=is_priced, is_counted=bool(compiled.tokens))
    if is_priced and "model" not in scope and not (request and request.model):
        model = _model_beside(wish)
        if not model:
            _check_model(route, wish, scope)
        elif request is None:
            return _changed(route, {**scope, "model": model}, stated)
    if request is None:
        return route
    is_named = bool(request.model) and "model" not in scope
    if is_named:
        scope = {**scope, "model": request.model}
    named: Mapping[str, str] = scope if options.endpoint is None else {**scope, "endpoint": options.endpoint}
    rooms = compiled.rooms(named, compiled.tokens.difference(stated)) if request.kind else {}
    if not rooms:
        return _changed(route, scope, stated) if is_named else route
    habits = route.context.habits.setdefault(route.service, Habits())
    key = (request.model, named.get("endpoint", request.kind), "" if request.text else "and more")
    sent, received = expected(habits.of(key), request.prompt)
    wish.tally = Tally(gate, habits, key, prompt=request.prompt, sent=sent, units=tuple(rooms))
    return _changed(route, scope, {**stated, **fitted(sent, received, rooms, is_read=request.prompt.is_read)})


def _model_beside(wish: Any) -> str:
    """
    Return the model that a request names elsewhere than in JSON: in a form with files (sounds, pictures), or in the URL
    of a WebSocket; an empty text where it names none, or two.
    """
    method, path, body = wish.asked()
    if method == "UPGRADE":
        found = parse_qs(path.partition("?")[2]).get("model", [])
    else:
        found = [each.decode(errors="replace") for each in _FIELD.findall(body)] if body and body[:2] == b"--" else []
    return clean(found[0]) if len(found) == 1 else ""


def _check_model(route: Route, wish: Any, scope: Mapping[str, str]) -> None:
    """
    Refuse a request to a model that nobody knows where a rule bounds some model: it may be that one.

    Raises:
        Rejected: There is such a rule.
    """
    policy, endpoint = route.gate.compiled.policy, route.options.endpoint
    named = scope if endpoint is None else {**scope, "endpoint": endpoint}
    rule = next((each for each in policy.rules if _bounds_models(each, named)), None)
    if rule is None:
        return
    method, path, _ = wish.asked()
    path = plain(path)
    # A message that is put into a thread of OpenAI's asks no model; a run of it does.
    is_text = bool(kind_at(path)) and "/threads/" not in path
    is_asked = method == "UPGRADE" or (method not in _READS and (is_text or has_no_text(path)))
    if is_asked and not is_count(path):
        is_money = rule.budget is not None and rule.budget.is_bound
        why = getattr(wish, "unread", "") or "its body does not tell"
        text = f"the rule {rule.name} bounds a model, and nobody knows the request's: {why}"
        denied = Denied(Why.BUDGET if is_money else Why.NEVER_FITS, rule.name, None, text)
        route.gate.count_denied(denied.why)
        raise rejection(route, denied)


def _bounds_models(rule: Rule, scope: Mapping[str, str]) -> bool:
    model = rule.match.get("model")
    is_bound = bool(rule.limits) or rule.max_concurrency is not None
    is_bound = is_bound or (rule.budget is not None and rule.budget.is_bound)
    return model is not None and is_bound and rule.matches({**scope, "model": model})


def _changed(route: Route, scope: Mapping[str, str], cost: Mapping[str, Any]) -> Route:
    options = copy(route.options)
    options.scope, options.cost = scope, cost
    return Route(route.service, route.gate, options, route.context)


def _read(wish: Any, *, is_priced: bool, is_counted: bool) -> _Request | None:
    """
    Read the request of *wish*; None if it is none to a language model, nor names one where *is_priced*, that is, where
    all requests are to language models. That is all that is read unless *is_counted*.
    """
    method, path, body = wish.asked()
    path = plain(path)
    if method in _READS or is_count(path):
        return None
    has_text = is_counted and not has_no_text(path)
    if body is None and has_text:
        # It is still on its way: all that is known is how long it is, and that not always.
        kind = kind_at(path)
        model = clean(model_of(None, path))
        return _Request(kind, model, Prompt(getattr(wish, "size", 0), is_read=False)) if kind else None
    parsed = None if body is None else parse(body)
    asking = None
    if body is not None and has_text:
        asking = read_parsed(parsed, body, path)
        # Whoever prices it need not read it again.
        wish.asking = body, asking
    if asking is None or not isinstance(parsed, dict):
        model = clean(model_of(parsed, path)) if is_priced else ""
        return _Request("", model, Prompt(0, is_read=False)) if model else None
    size, beside = measured(parsed, measure_of(asking.model))
    most = 0 if asking.kind == "embeddings" else asking.most_output
    prompt = Prompt(size, beside * BESIDE, most, asking.answers)
    return _Request(asking.kind, clean(asking.model), prompt, asking.text)
