"""
Requests that don't say how long their answer may be: bounded to what a part of the budget pays for, in every client.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

from egressor import BudgetExceeded, Governor, unwrap
from egressor.policies.loader import from_table
from egressor.transports.httpx import Transport
from tests.transports.every import EVERY
from tests.transports.upstream import answer, as_json

if TYPE_CHECKING:
    from tests.transports.every import Ask
    from tests.transports.upstream import Behaviour, Handler, Upstream

# Micro-dollars for a token that is sent, and for one that is received.
SENT, RECEIVED = 2, 10
PRICES = {"models": [{"model": "*", "usd_per_mtok": {"input": SENT, "output": RECEIVED}}]}
ASKED = {"model": "gpt-4o", "temperature": 0, "messages": [{"role": "user", "content": "hello"}]}
HOUR = 3_600_000_000
LONGEST = 16_384
LIKELY = 4_096
NAME = "max_completion_tokens"
CHAT = "/v1/chat/completions"


@pytest.fixture(params=EVERY)
def read(request: pytest.FixtureRequest) -> Ask:
    """
    A client that is asked for an answer and reads it whole.
    """
    return EVERY[request.param]


def governor(budget: object, *, ledger: str = "memory:", **more: Any) -> Governor:
    """
    A governor of one service with a budget in all.
    """
    api = {"dialect": "openai", "budget": budget, "retry": {"attempts": 1}, **more}
    return Governor(config=from_table({"egressor": {"ledger": ledger}, "services": {"api": api}, "prices": PRICES}))


def spent(gov: Governor) -> tuple[int, int, int]:
    """
    What is spent, held and unknown.
    """
    money = gov.context.money
    assert money is not None
    cell = money.till.read(lambda page: page.budgets())[0].cell
    return cell.spent, cell.held, cell.unknown


def said(reason: str = "stop") -> Behaviour:
    """
    Answer with a few words, which end for *reason*.
    """
    used = {"prompt_tokens": 10, "completion_tokens": 5}
    return as_json({"model": "gpt-4o", "choices": [{"finish_reason": reason}], "usage": used})


def bounds(upstream: Upstream) -> list[int | None]:
    """
    Return the bounds that the requests had on their way.
    """
    return [json.loads(each.body).get(NAME) for each in upstream.received]


def test_a_budget_of_which_nothing_is_spent_blocks_nothing(read: Ask, upstream: Upstream) -> None:
    """
    Regression: a request that didn't say how long its answer may be was refused for ever on a budget of a dollar. Where
    the budget is much more than the longest answer costs, not a byte is changed; else a bound is added and no more.
    """
    url = upstream.script(CHAT, said())
    for budget in (25.0, 1.0):
        read(governor({"day": budget}), url, "POST", json=ASKED)
    plain, bounded = [each.body for each in upstream.received]
    tokens = json.loads(bounded)[NAME]

    assert json.loads(plain) == ASKED
    assert bounded == plain[:-1] + f',"{NAME}":{tokens}}}'.encode()
    # An eighth of a dollar, less what is sent.
    assert 125_000 - RECEIVED < SENT * len(plain) + RECEIVED * tokens <= 125_000


def test_near_its_end_a_budget_pays_for_what_is_likely_or_for_nothing(read: Ask, upstream: Upstream) -> None:
    """
    Below that an answer would be hardly more than its beginning.
    """
    url = upstream.script(CHAT, said())
    likely = RECEIVED * LIKELY + 1_000
    read(governor({"total": likely / 1e6}), url, "POST", json=ASKED)
    with pytest.raises(BudgetExceeded) as caught:
        read(governor({"total": (likely - 2_000) / 1e6}), url, "POST", json=ASKED)

    assert bounds(upstream) == [LIKELY]
    assert "as it does not say how long its answer may be: max_tokens can never fit" in str(unwrap(caught.value))


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_body_of_pieces_has_one_length(library: Any, upstream: Upstream) -> None:
    """
    Regression: a body that came in pieces and was read since went out with a length and as pieces, which servers take
    for an attack.
    """
    url = upstream.script(CHAT, said())
    with library.Client(transport=Transport(governor({"day": 1.0}), "api")) as client:
        request = client.build_request("POST", url, content=iter([json.dumps(ASKED).encode()]))
        request.read()
        status = client.send(request).status_code
    (sent,) = upstream.received
    headers = {name.lower(): value for name, value in sent.headers.items()}

    assert status == 200
    assert json.loads(sent.body)[NAME] > 0
    assert (headers.get("transfer-encoding"), headers["content-length"]) == (None, str(len(sent.body)))


def test_a_retry_is_bounded_anew(read: Ask, upstream: Upstream) -> None:
    """
    An attempt that may have been billed leaves less for the next one; one that was refused leaves all.
    """
    gov = governor({"total": 1.0}, retry={"attempts": 3, "base": 0.001, "cap": 0.002, "budget": False})
    url = upstream.script(CHAT, answer(429), answer(500), said())
    read(gov, url, "POST", json=ASKED, headers={"idempotency-key": "k"})
    first, second, third = bounds(upstream)
    charged, held, unknown = spent(gov)

    assert first == second
    assert first is not None
    assert third is not None
    assert third == pytest.approx(first * 7 / 8, rel=0.01)
    assert (charged - unknown, held) == (10 * SENT + 5 * RECEIVED, 0)
    assert unknown == 125_000


def test_a_retry_for_which_there_is_enough_has_no_bound(read: Ask, upstream: Upstream) -> None:
    """
    When the budget was renewed meanwhile, the body is the client's own again.
    """
    gov, now = governor({"hour": 1.4}, retry={"attempts": 2, "base": 0.001, "budget": False}), [HOUR * 500_000]
    money = gov.context.money
    assert money is not None
    money.wall = lambda: now[0]
    gov.call("api", str, cost={"usd": 0.7})

    def fail(handler: Handler) -> None:
        now[0] += HOUR
        answer(500)(handler)

    url = upstream.script(CHAT, fail, said())
    read(gov, url, "POST", json=ASKED, headers={"idempotency-key": "k"})
    first, second = bounds(upstream)

    assert first is not None
    assert second is None
    assert json.loads(upstream.received[1].body) == ASKED


def test_an_answer_that_was_cut_off_is_kept_for_nobody(read: Ask, upstream: Upstream) -> None:
    """
    Whoever asks next may get a whole one, which is kept, under the key of the request as it was sent to us.
    """
    gov = governor({"total": 1.0}, cache={"ttl": 60.0})
    url = upstream.script(CHAT, said("length"), said())
    answers = [json.loads(read(gov, url, "POST", json=ASKED))["choices"][0]["finish_reason"] for _ in range(4)]

    assert answers == ["length", "stop", "stop", "stop"]
    assert len(upstream.received) == 2
    assert {each.headers.get("accept-encoding", "identity") for each in upstream.received} == {"identity"}


def test_what_is_only_added_up_is_never_bounded(read: Ask, upstream: Upstream) -> None:
    """
    Nothing is held of such a budget.
    """
    url = upstream.script(CHAT, said())
    gov = governor({"unbounded": True})
    for model in ("gpt-4o", "m"):
        read(gov, url, "POST", json={**ASKED, "model": model})

    assert bounds(upstream) == [None, None]


def test_a_call_of_a_stated_cost_is_never_bounded(upstream: Upstream) -> None:
    """
    Its program has said what it may cost.
    """
    url = upstream.script(CHAT, said())
    with httpx2.Client(transport=Transport(governor({"total": 1.0}), "api", cost={"usd": 0.01})) as client:
        client.post(url, json=ASKED)

    assert bounds(upstream) == [None]


def test_the_log_says_it_once_an_hour(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    """
    Of each model, and not of each answer.
    """
    gov, now = governor({"total": 1.0}), [1_795_953_600_000_000]
    money = gov.context.money
    assert money is not None
    money.wall = lambda: now[0]
    url = upstream.script(CHAT, said())
    with caplog.at_level(logging.WARNING, "egressor"), httpx2.Client(transport=Transport(gov, "api")) as client:
        for model, seconds in [("gpt-4o", 0), ("gpt-4o", 3_599), ("gpt-5", 0), ("gpt-4o", 1)]:
            now[0] += seconds * 1_000_000
            client.post(url, json={**ASKED, "model": model})
    told = [each.getMessage() for each in caplog.records if "tokens at most" in each.msg]

    assert ["gpt-5" in each for each in told] == [False, True, False]


def test_names_that_are_made_up_fill_no_log() -> None:
    """
    Of some hundred models it is remembered that it was told; then it may be told again.
    """
    money = governor({"total": 1.0}).context.money
    assert money is not None
    purse = money.purse("api", governor({"total": 1.0}).config.services["api"], {})
    assert purse is not None
    for number in range(300):
        money.tell_cap(purse._tags._replace(model=str(number)), 1)

    assert len(money._told) < 256


@pytest.mark.parametrize("ledger", ["memory", "sqlite"])
@pytest.mark.parametrize("answers", [1, 3])
def test_many_at_once_that_answer_as_long_as_they_may_keep_to_the_budget(
    ledger: str, answers: int, upstream: Upstream, tmp_path: Path
) -> None:
    """
    The server answers with all that it is allowed, and sends the bill: it is never above the budget, and at the end
    hardly less.
    """
    budget, bill, lock = 1_000_000, [0], Lock()

    def serve(handler: Handler) -> None:
        asked = json.loads(handler.body)
        received = asked.get(NAME, LONGEST) * asked.get("n", 1)
        sent = len(json.dumps({**ASKED, "n": answers}))
        with lock:
            bill[0] += SENT * sent + RECEIVED * received
        used = {"prompt_tokens": sent, "completion_tokens": received}
        as_json({"model": "gpt-4o", "choices": [], "usage": used})(handler)

    address = "memory:" if ledger == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    gov = governor({"total": budget / 1e6}, ledger=address, max_concurrency=64)
    url = upstream.script(CHAT, serve)

    def calls(client: httpx2.Client) -> None:
        is_over = False
        while not is_over:
            try:
                client.post(url, content=json.dumps({**ASKED, "n": answers}))
            except BudgetExceeded as error:
                is_over = "calls under way" not in str(error)

    with httpx2.Client(transport=Transport(gov, "api")) as client:
        threads = [Thread(target=calls, args=(client,)) for _ in range(16)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    found = spent(gov)
    gov.close()

    assert found == (bill[0], 0, 0)
    assert budget - answers * RECEIVED * (LIKELY + 20) < bill[0] <= budget
    assert len(upstream.received) > 8 // answers
