"""
Read an HTTP answer: mitigation headers, pages that block, the status, codes in the body, words; each narrows the last.

The order is measured: structure and codes are exact and cost nanoseconds, words are guesses and cost microseconds, and
a list of substrings over whole bodies is right half of the time. So a body is looked at only where its status is
ambiguous (a 429 may be a spent quota), codes are read from the places where APIs put them, words only from the message
beside them or from the first 4 KiB of a body that has no structure. No regular expression ever sees what a server sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard

from egressor._core.evidence import Opened, document, media_type
from egressor._core.grade import failure
from egressor._core.model import ErrorCategory as Kind
from egressor._core.model import Verdict
from egressor._core.pages import READ, page
from egressor._core.retry_after import retry_after
from egressor._core.statuses import STATUSES, status_rule

if TYPE_CHECKING:
    from egressor._core.evidence import Evidence, Headers
    from egressor._core.statuses import StatusRule

__all__ = ["SUCCESS", "codes_of", "mitigated", "paged", "read_answer", "told_to_retry"]

SUCCESS: Final = Verdict(fingerprint="ok", why="no failure in it")
_WORDS: Final = 4096
_CODE: Final = 96
_CODES: Final = 24


class _Hint(NamedTuple):
    """
    What a code in a body turns an answer into, for which statuses.
    """

    word: str
    kind: Kind
    retry: bool
    statuses: frozenset[int]


_PAYING: Final = frozenset({400, 402, 403, 429})
_UNPAID: Final = frozenset({401})
_BUSY: Final = frozenset({429, 498, 500, 503})
_DOOR: Final = frozenset({400, 403})

# Fragments of codes, in lower case with `_` for all that is no letter or digit. The first that is found decides, and
# becomes part of the fingerprint: hence our own words, never the server's.
_HINTS: Final = (
    # OpenAI, Anthropic, OpenRouter, X: money or a monthly allowance is spent, and waiting doesn't bring it back.
    # A bare "quota" stays out: Google says RESOURCE_EXHAUSTED and "quota" for a spent minute, too.
    *(
        _Hint(word, Kind.QUOTA_EXHAUSTED, retry=False, statuses=_PAYING)
        for word in (
            "insufficient_quota",
            "insufficient_credit",
            "credit_balance",
            "credits_depleted",
            "creditsdepleted",
            "billing",
            "payment_required",
            "spend_limit",
            "organization_usage_limit",
            "usage_capped",
        )
    ),
    # ElevenLabs, NewsAPI: a 401 whose key is right, and has nothing left; Salesforce's bound of requests in a day.
    *(
        _Hint(word, Kind.QUOTA_EXHAUSTED, retry=False, statuses=_UNPAID)
        for word in ("quota_exceeded", "keyexhausted", "insufficient_credit", "insufficient_quota")
    ),
    # A day's or a month's allowance, whatever the limit is called beside it.
    _Hint("daily_limit", Kind.QUOTA_EXHAUSTED, retry=False, statuses=frozenset({403, 429})),
    _Hint("request_limit_exceeded", Kind.QUOTA_EXHAUSTED, retry=False, statuses=frozenset({403})),
    # A card, an account at a broker: no allowance of the API's.
    *(
        _Hint(word, Kind.INSUFFICIENT_FUNDS, retry=False, statuses=frozenset({402, 403, 422}))
        for word in ("insufficient_fund", "insufficient_buying_power", "insufficient_margin")
    ),
    # Google's older APIs say 403 for both: the day's allowance is spent, or somebody was too fast.
    *(
        _Hint(word, Kind.QUOTA_EXHAUSTED, retry=False, statuses=_DOOR)
        for word in ("dailylimitexceeded", "daily_limit_exceeded", "quotaexceeded", "quota_exceeded")
    ),
    # Plaid, Firebase: what is wrong with a 400 is who asks.
    *(
        _Hint(word, Kind.AUTHENTICATION, retry=False, statuses=frozenset({400}))
        for word in ("login_required", "invalid_login", "invalid_credential", "invalid_password", "token_expired")
    ),
    # AWS answers 400 with ThrottlingException, Google 403 with rateLimitExceeded, Deribit 400 with too_many_requests.
    *(
        _Hint(word, Kind.RATE_LIMIT, retry=True, statuses=_DOOR)
        for word in ("rate_limit", "ratelimit", "too_many_requests", "toomanyrequests", "throttl")
    ),
    *(
        _Hint(word, Kind.OVERLOADED, retry=True, statuses=_BUSY - {429})
        for word in ("overload", "capacity_exceeded", "slow_down", "slowdown", "modelnotready", "model_loading")
    ),
    _Hint("maintenance", Kind.MAINTENANCE, retry=True, statuses=frozenset({503})),
)

# Words of prose, for bodies without codes; as few as are unmistakable. Google's "exceeded your current quota ...
# billing details" is a spent minute as often as a spent account, so that it isn't here.
_PHRASES: Final = (
    ("insufficient_quota", "insufficient_quota"),
    ("credit balance is too low", "credit_balance"),
    ("insufficient credits", "insufficient_credit"),
    ("api usage limits", "spend_limit"),
    ("maintenance", "maintenance"),
    ("is currently loading", "model_loading"),
    ("insufficient buying power", "insufficient_buying_power"),
    *((words, "daily_limit") for words in ("day limit", "for today", "for the day", "current month", "this month")),
    *((f"{span} {what}", "daily_limit") for span in ("daily", "monthly") for what in ("limit", "quota", "request")),
    # Meta's Graph API, whose code is a bare 190.
    ("error validating access token", "expiredtoken"),
    # AWS's API Gateway, where nothing was signed.
    ("missing authentication token", "missingauthenticationtoken"),
)
# Whole codes that say more than a 400 or a 403: AWS's, in JSON, XML and botocore's exceptions, without their ending.
# https://docs.aws.amazon.com/awssupport/latest/APIReference/CommonErrors.html
_AWS: Final = {
    "expiredtoken": Kind.AUTHENTICATION,
    "invalidaccesskeyid": Kind.AUTHENTICATION,
    "signaturedoesnotmatch": Kind.AUTHENTICATION,
    "unrecognizedclient": Kind.AUTHENTICATION,
    "invalidclienttokenid": Kind.AUTHENTICATION,
    "authfailure": Kind.AUTHENTICATION,
    "missingauthenticationtoken": Kind.AUTHENTICATION,
    "invalidsignature": Kind.AUTHENTICATION,
    "incompletesignature": Kind.AUTHENTICATION,
    "accessdenied": Kind.PERMISSION,
    "unauthorizedoperation": Kind.PERMISSION,
    "requesttimetooskewed": Kind.CLOCK_SKEW,
    "requestexpired": Kind.CLOCK_SKEW,
    "requestlimitexceeded": Kind.RATE_LIMIT,
    "provisionedthroughputexceeded": Kind.RATE_LIMIT,
    "bandwidthlimitexceeded": Kind.RATE_LIMIT,
    "requesttimeout": Kind.TIMEOUT,
    "notauthorized": Kind.AUTHENTICATION,
    "invalididentitytoken": Kind.AUTHENTICATION,
    "optinrequired": Kind.PERMISSION,
    "resourcenotfound": Kind.NOT_FOUND,
    "nosuchentity": Kind.NOT_FOUND,
    "conditionalcheckfailed": Kind.CONFLICT,
    "resourceinuse": Kind.CONFLICT,
    "resourcealreadyexists": Kind.CONFLICT,
}
# Instagram and many in its manner: a human is asked for, in JSON. Longer codes than these are of forms and of logins.
_HUMAN: Final = frozenset({"captcha_required", "captcha_needed", "challenge_required", "checkpoint_required"})
_RETRIED: Final = frozenset({Kind.RATE_LIMIT, Kind.CLOCK_SKEW, Kind.TIMEOUT})
_BY_STATUS: Final = {
    status: tuple(hint for hint in _HINTS if status in hint.statuses)
    for status in sorted(frozenset().union(*(hint.statuses for hint in _HINTS)))
}

# Headers that assert an action against this very request. That a CDN's header is merely there says nothing.
_MITIGATIONS: Final = (
    ("cf-mitigated", ("challenge",), Kind.CHALLENGE, "https://developers.cloudflare.com/cloudflare-challenges/"),
    ("x-amzn-waf-action", ("challenge", "captcha"), Kind.CHALLENGE, "https://docs.aws.amazon.com/waf/"),
    ("x-vercel-mitigated", ("challenge",), Kind.CHALLENGE, "https://vercel.com/docs"),
    ("x-vercel-mitigated", ("deny",), Kind.BAN, "https://vercel.com/docs"),
    ("x-sucuri-block", ("",), Kind.BAN, "https://docs.sucuri.net"),
)
_ASSERTING: Final = frozenset({"location", *(name for name, *_ in _MITIGATIONS)})


def read_answer(evidence: Evidence) -> Verdict:
    """
    Read an answer that has a status.
    """
    status = evidence.status
    if status is None or status < 0:
        return failure(Kind.UNKNOWN, fingerprint="http.invalid", why="the status is no HTTP status (RFC 9110 15)")
    if evidence.headers:
        found = mitigated(evidence)
        if found is not None:
            return found
    if evidence.body is not None:
        found = paged(evidence)
        if found is not None:
            return found
    if status < 400:
        return _broken(evidence, status) or SUCCESS
    if status in _PLAIN and not evidence.headers and (evidence.body is None or status not in _BY_STATUS):
        return _PLAIN[status]
    return _failed(evidence, status)


def mitigated(evidence: Evidence) -> Verdict | None:
    """
    Read the headers by which an edge says that it has answered instead of the service; None if none says so.
    """
    status = evidence.status or 0
    if _ASSERTING.isdisjoint(evidence.headers):
        return None
    for name, actions, kind, source in _MITIGATIONS:
        for value in evidence.headers.get(name, ()):
            if any(action in value.lower() for action in actions):
                return failure(
                    kind,
                    fingerprint=f"http.{_shown(status)}.{name}",
                    why=f"header {name} asserts a {kind.value} (status {_shown(status)})",
                    retry_after=_wait(evidence),
                    source=source,
                )
    if 300 <= status <= 399 and any("/sorry/index" in value for value in evidence.headers.get("location", ())):
        why = f"a redirect to a page that asks for a human (status {status})"
        source = "https://support.google.com/websearch/answer/86640"
        return failure(Kind.CHALLENGE, fingerprint=f"http.{status}.google_sorry", why=why, source=source)
    return None


def paged(evidence: Evidence) -> Verdict | None:
    """
    Read a body that is no JSON, or that is an edge's, as a page; None if it is none that blocks.
    """
    status, body = evidence.status or 0, evidence.body
    if type(body) is Opened:
        text = body.text
    elif isinstance(body, (dict, list)):
        text = ""
    else:
        head = body[:READ] if isinstance(body, (str, bytes, bytearray)) else ""
        text = head if isinstance(head, str) else bytes(head).decode("utf-8", "replace")
    found = None if status < 400 and _looks_like_json(text) else page(text, status)
    if found is None:
        return None
    return found.rule.verdict(
        fingerprint=f"http.{_shown(status)}.{found.name}",
        why=f"status {_shown(status)}, and the body is the page {found.name}",
        wait=_wait(evidence),
    )


def _broken(evidence: Evidence, status: int) -> Verdict | None:
    """
    Catch a success that declares JSON and carries something else: an edge's page, a captive portal, a crash.
    """
    if status >= 300 or not evidence.headers or evidence.body is None or not _is_json(media_type(evidence.headers)):
        return None
    if _looks_like_json(evidence.body):
        return None
    return failure(
        Kind.BAD_RESPONSE,
        fingerprint=f"http.{status}.not_json",
        why=f"status {status} declares JSON and carries something else (RFC 9110 8.3)",
        retryable=True,
        may_have_run=True,
        source="RFC 9110 8.3",
    )


def _is_json(kind: str) -> bool:
    return kind in {"application/json", "text/json"} or kind.endswith("+json")


def _looks_like_json(body: object) -> bool:
    """
    Whether the first character begins a JSON text (RFC 8259 2); an empty body, as a HEAD has, is nothing to judge.
    """
    if type(body) is Opened:
        body = body.text if body.parsed is None else "{"
    head = body[:256] if isinstance(body, str | bytes | bytearray) else "{"
    text = (head if isinstance(head, str) else head.decode("utf-8", "replace")).lstrip("\ufeff \t\r\n")
    return not text or text[0] in '{["-0123456789' or text.startswith(("true", "false", "null"))


def _failed(evidence: Evidence, status: int) -> Verdict:
    """
    Read a status of 400 and above with all that came with it.
    """
    rule = status_rule(status)
    wait = _wait(evidence)
    kind, retry = rule.kind, rule.retry or (rule.told and wait is not None)
    word, source = "", rule.source
    hint = _hint(evidence.body, status) if status in _BY_STATUS else None
    if hint is None and status in _DOOR:
        # Where AWS's API Gateway has its code: "MissingAuthenticationTokenException:http://…".
        hint = _by_code(
            [_code(name.partition(":")[0]) for name in evidence.headers.get("x-amzn-errortype", ())], status
        )
    if hint is not None:
        kind, retry, word, source = hint.kind, hint.retry, hint.word, f"{source}; its body says {hint.word}"
    elif status == 403 and wait:
        # GitHub, and others: a refusal with a date is a limit, not a lack of rights.
        kind, retry, source = Kind.RATE_LIMIT, True, f"{source}; with Retry-After it is a limit"
    elif status == 418 and wait:
        # Binance, and those that copy it: the IP is banned until then.
        kind, source = Kind.BAN, f"{source}; with Retry-After a ban of this IP"
    told = told_to_retry(evidence.headers)
    if told is not None:
        retry, source = told, f"{source}; x-should-retry"
    return failure(
        kind,
        fingerprint=f"http.{_shown(status)}" + (f".{word}" if word else ""),
        why=f"status {_shown(status)} ({source})",
        retryable=retry,
        may_have_run=_ran(rule, kind, status, wait),
        retry_after=wait,
        source=rule.source,
    )


def _ran(rule: StatusRule, kind: Kind, status: int, wait: float | None) -> bool:
    # A server that says "not now", with a reason or a time, has turned the request away at the door.
    turned_away = kind in {Kind.OVERLOADED, Kind.MAINTENANCE} or (status == 503 and wait is not None)
    return rule.ran and not turned_away


def _wait(evidence: Evidence) -> float | None:
    return retry_after(evidence.headers, status=evidence.status, now=evidence.now)


def told_to_retry(headers: Headers) -> bool | None:
    """
    Read ``x-should-retry``, by which a server overrules what its status would mean (OpenAI, Anthropic).
    """
    values = headers.get("x-should-retry")
    return {"true": True, "false": False}.get(values[0].strip().lower()) if values else None


def _shown(status: int) -> str:
    return str(status) if status <= 999 else "invalid"


def _hint(body: object, status: int) -> _Hint | None:
    if body is None:
        return None
    parsed, text = document(body)
    if parsed is not None:
        codes, text = codes_of(parsed)
        found = _by_code(codes, status)
        if found is not None:
            return found
    prose = text[:_WORDS].lower()
    if parsed is None and "<code>" in prose:
        # XML, as S3 and others of its age answer.
        found = _by_code([_code(prose.partition("<code>")[2].partition("<")[0])], status)
        if found is not None:
            return found
    for phrase, word in _PHRASES:
        if phrase in prose:
            found = _by_code([word], status)
            if found is not None:
                return found
    return None


def _by_code(codes: list[str], status: int) -> _Hint | None:
    if status in _DOOR:
        for code in codes:
            kind = _AWS.get(code.removesuffix("exception"))
            if kind is not None:
                return _Hint(kind.value, kind, kind in _RETRIED, _DOOR)
    if status in _DOOR or status == 429:
        human = next((code for code in codes if code in _HUMAN), None)
        if human is not None:
            return _Hint(human, Kind.CHALLENGE, retry=False, statuses=_DOOR)
    said = " ".join(codes)
    return next((hint for hint in _BY_STATUS[status] if hint.word in said), None)


# Where APIs put their codes, nearest first: OpenAI and Mistral `error.code/.type`, Anthropic `error.type` and
# `error.details.error_code`, Google `error.status` and `error.errors[].reason`, AWS `__type` or `Error.Code`, X `type`
# and `title` (RFC 9457), Coinbase `errors[].id`, Stack Exchange `error_name`.
_PLACES: Final = (
    *("decline_code", "code", "type", "status", "error_code", "errorCode", "error_name", "reason", "title", "id"),
    *("__type", "Code"),
    *("message", "msg", "detail", "description", "error", "Message"),
)
_NESTS: Final = ("error", "Error", "detail", "details", "errors", "metadata")
_MESSAGES: Final = _PLACES[-6:]


def codes_of(parsed: object) -> tuple[list[str], str]:
    """
    Collect the codes of a parsed body, in lower case and nearest to the top first, and its first message in words.
    """
    codes: list[str] = []
    prose = ""
    level: list[object] = [parsed]
    for _ in range(3):
        nodes = [node for item in level[:8] for node in (item[:4] if isinstance(item, list) else [item])]
        level = []
        for table in nodes:
            if isinstance(table, dict):
                codes += [_code(value) for value in map(table.get, _PLACES) if _is_code(value)]
                prose = prose or next((value for value in map(table.get, _MESSAGES) if isinstance(value, str)), "")
                level += [table[name] for name in _NESTS if name in table]
    return codes[:_CODES], prose


def _is_code(value: object) -> TypeGuard[str]:
    # Some put the code where others put a sentence (Deribit's message is "too_many_requests"); a sentence has spaces.
    return isinstance(value, str) and " " not in value[-_CODE:]


def _code(value: str) -> str:
    # The end of a code is its telling part where it is a URI (RFC 9457 3.1.1), or a shape's name in AWS.
    short = value[-_CODE:].rsplit("/", 1)[-1].rsplit("#", 1)[-1].lower()
    return short if short.isidentifier() else "".join(letter if letter.isalnum() else "_" for letter in short)


_PLAIN: Final[dict[int, Verdict]] = {
    status: failure(
        rule.kind,
        fingerprint=f"http.{status}",
        why=f"status {status} ({rule.source})",
        retryable=rule.retry,
        may_have_run=rule.ran,
        source=rule.source,
    )
    for status, rule in STATUSES.items()
}
