"""
What is written down of strangers' words: error messages, URLs, headers and bodies, without the secrets in them.

`hide` knows how keys look. A password looks like nothing; but it stands behind its name. So here a value is hidden for
where it stands, too: behind a name such as ``password`` or ``X-Api-Key`` in a query, a header, JSON or a program's own
notation; behind an option; as the user of a URL, or in its path; in a cookie; between the lines of a PEM file. And
whatever the environment or a key file of this process holds as a secret is hidden wherever it turns up, whatever it
looks like.

Each pattern begins at the beginning of a word and looks no further than a bounded name, so that no text is slow.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from egressor.policies.hiding import NOT_SHOWN, hide

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["cut", "is_secret_name", "learn", "learn_environment", "redact"]

# Names whose value is a secret wherever they stand, as a part of another name too; "tokens" are counted, and "key"
# alone is a word as any other. The short ones stand alone or behind a joint: a compass is no password.
# A variable's key, but for those that tables and caches have.
_VARIABLE = (
    r"(?-i:_KEY(?![\w-])(?<=[A-Z0-9]_KEY)(?<!PUBLIC_KEY)(?<!PRIMARY_KEY)(?<!FOREIGN_KEY)(?<!UNIQUE_KEY)(?<!CACHE_KEY)"
    r"(?<!SORT_KEY)(?<!PARTITION_KEY)(?<!ROW_KEY)(?<!MAX_KEY)(?<!MIN_KEY)(?<!ERROR_KEY)(?<!MISSING_KEY)"
    r"(?<!DUPLICATE_KEY)(?<!IDEMPOTENCY_KEY))"
)
_PHRASE = r"mnemonic|(?:seed|recovery|backup|secret)[-_. ]?(?:phrase|words)"
_NAMES = (
    r"(?:password|passwd|passphrase|passcode|secret|token(?!s)|apikey|signature|credential|authorization|cookie|sessionid"
    r"|(?:api|access|secret|private|signing|session|client|auth|master|shared|account|encryption|subscription"
    r"|listen|app|application|consumer|licen[cs]e|service|user|partner|webhook|functions)(?:[-_.]|%5F|%2D)?key"
    r"|(?:access|auth)[-_]?code(?![-\w])|sessid|(?<![A-Za-z])creds|(?:api|code)[-_]?hash|client[-_]assertion|reddit_session"
    r"|(?<!\bre[-_])(?<!\bco[-_])(?<!code[-_])(?:(?<=[-_])sign|(?<![A-Za-z])(?-i:SIGN))(?![A-Za-z])"
    rf"|{_VARIABLE}|session[-_.]id|(?:proxy|http)[-_.]auth|{_PHRASE}"
    r"|(?<![A-Za-z])(?:pass|pwd|pw|jwt|hmac|otp|sid|csrf|xsrf|bearer))(?-i:(?![a-rt-z]))"
)
# Names of a query's or a form's parameters that mean something else in a sentence.
_PARAMETERS = ("key", "sig", "sign", "auth", "session", "pin", "assertion")
_STRING = r"[bru]{0,2}(?:\\{0,3}\"(?:[^\"\\]|\\(?!\").)*(?:\\?\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z))"
_ENTITY = r"(?:&quot;|&#3[49];)"
_QUOTE = rf"(?:\\{{0,3}}[\"']|{_ENTITY})?"
_VALUE = r"[^\s&,;\"'<>(){}\]]"
_GIVEN = rf"(?:(?:{_STRING})|[^\s\"',;]+)"
_LITTLE = r"[bru]{0,2}[\"'](?:session|auth|sig|sign)[\"']\s{0,4},\s{0,4}"
_LINE = rf"((?:cookie2?|authorization){_QUOTE}\s{{0,8}}:\s{{0,8}})"
_WHOLE = rf"[\w.-]{{0,40}}?{_NAMES}[\w.-]{{0,40}}"
# Which of a list's parameters it is, or the end of where a name stands.
_INDEX = r"(?:\]|(?:\[|%5B)[\w.-]{0,20}(?:\]|%5D))?"
_NAMED = (
    rf"({_NAMES}[\w.-]{{0,40}}{_QUOTE}{_INDEX}\s{{0,8}}(?::=|[=-]>|[:=]|%3[AD])"
    rf"\s{{0,8}}(?:[>|][-+]?\s{{0,4}}\n\s{{0,8}})?{_ENTITY}?(?:(?:bearer|basic|token|digest)\s{{1,4}})?)"
)
# What follows an option, or a password's name, in a sentence about it.
_SPOKEN = (
    r"(?!(?:is|are|was|were|has|have|had|must|may|can|cannot|could|should|will|and|or|not|nor|in|of|on|to|for|from|with"
    r"|requires?|needs?|expects?|takes?|option|argument|flag|value|missing|given|twice|instead|but|if|when)[.,;:!?)]*(?:\s|\Z))"
)
_SENTENCE = (
    r"(\b(?:password|passwd|passphrase|passcode|pwd)\s{1,4}(?:(?:is|was):?\s{1,4})?[\"']?)"
    r"(?=[^\s\"']{0,60}\d)(?=[^\s\"']{0,60}[A-Za-z])[^\s\"',;]{6,}"
)
# What has keys or tokens that are no secrets.
_THINGS = (
    r"(?:models?|engines?|deployments?|orders?|prompts?|completions?|requests?|responses?|messages?|documents?|objects?"
    r"|entry|entries|rows?|records?|items?|events?|caches?|files?|tables?|index(?:es)?|columns?|fields?)\b"
)
# What is said of a key, and is none.
_SAID = (
    r"(?!(?:not|none|null|no|is|was|are|must|may|can|it|the|your|you|a|an|please|check|see|try|use|get|invalid|incorrect"
    r"|wrong|bad|missing|required|expired|revoked|disabled|inactive|unknown|unauthorized|limit|error)\b)"
)
# What has a digit and a letter, as no word of a sentence does.
_MIXED = r"(?=[^\s\"']{0,60}\d)(?=[^\s\"']{0,60}[A-Za-z])[^\s\"',;&()<>\u2018-\u201f\xab\xbb]{6,}"
_QUOTES = r"[\"'`\u2018-\u201f\xab\xbb]"
# The word for a password elsewhere, as servers there say it.
_FOREIGN = (
    *("passwort", "kennwort", "mot de passe", "contraseña", "contrasena", "senha", "wachtwoord", "lösenord", "hasło"),
    *("пароль", "密码", "密碼", "パスワード", "비밀번호"),
)
# What stands beside the code of OAuth, and beside no code of an error.
_BESIDE = r"(?:state|grant_type|redirect_uri|code_verifier|client_id)="
# A command's user and password, as curl has them.
_USER = r"(?<![\w-])(?:-u|--(?:(?:proxy-|http-)?user|auth))"
_GONE = "\0"
_URL = re.compile(r"((?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s\"'<>`]+)")
_PART = re.compile(r"[^/?&=#;,@]+")
_Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*patterns: str, shown: str = rf"\1{_GONE}") -> _Rules:
    return tuple([(re.compile(pattern, re.IGNORECASE | re.DOTALL), shown) for pattern in patterns])


_FILES = _rules(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", shown=_GONE)
_USERS = _rules(
    # Up to the last "@" before the path. A database's password may hold a slash, and so may any that is no port.
    r"(?<!http)(?<!https)(://)[^\s/?#@:\"'<>]{0,200}:[^\s\"'<>]{1,300}@",
    r"(://)[^\s/?#\"'<>]+@",
    r"(://)[^\s/?#@:\"'<>]{0,200}:(?!\d{1,5}[/?#])[^\s\"'<>]{1,300}@",
    # Before a host without a scheme, which a port tells, and as Oracle has it.
    r"((?<![\w/.-])[\w.%+-]{1,60}:)[^\s\"'<>@/:]{1,200}@(?=[\w.-]{1,100}:\d)",
    r"(\b(?:thin|oracle):[^\s/\"'@]{0,60}/)[^\s@\"'<>]{1,200}@",
    shown=rf"\1{_GONE}@",
)
_BEHIND_NAMES = _rules(
    # Names and values as pairs, as headers and the lists of commands are printed.
    rf"([\"']-{{0,2}}{_WHOLE}[\"']\s{{0,4}},\s{{0,4}})(?:{_STRING})",
    rf"((?<![\w-])--{_WHOLE}[ \t]{{1,8}})(?!-){_SPOKEN}{_GIVEN}",
    rf"(<(?:[\w.-]{{1,40}}:)?{_WHOLE}(?:\s[^<>]{{0,200}})?>)(?:(?:<!\[CDATA\[)?[^<]{{1,2000}}(?=</)|[^<\s]{{1,200}}\Z)",
    # A sentence that says a password: it has a digit.
    _SENTENCE,
    # A cookie's and a credential's own syntax goes to the end of the line.
    rf"{_LINE}[^\r\n]+",
    rf"{_NAMED}(?:(?:{_STRING}){_VALUE}*|{_VALUE}+)",
    # "auth" is a name behind a joint or in quotes; in a sentence it is a word.
    rf"((?:(?<=\w[-.])|(?<=[_\"']))auth{_QUOTE}\s{{0,8}}[:=]\s{{0,8}})(?:(?:{_STRING}){_VALUE}*|{_VALUE}+)",
    # A form's part, by its head.
    rf"(\bname=[\"']?(?![\w.-]{{1,80}}[-_](?:counts?|limits?|types?|usage|length)(?![\w.-])){_WHOLE}[\"']?[^\r\n]{{0,100}}(?:\r?\n|\\r\\n){{2}})[^\r\n]+",
    # A row of a table.
    rf"((?:password|passwd|secret|(?:api|access|secret)[-_ ]?key|(?:access|auth|api)[-_ ]token)\s{{1,20}}\|\s{{0,20}})"
    rf"{_MIXED}",
    # Names that say little by themselves, in a pair: nothing but keywords stands behind it. A list of two may be one of
    # words.
    rf"(\(\s{{0,4}}{_LITTLE})(?:{_STRING})(?=\s{{0,4}},?\s{{0,4}}(?:\)|\w{{1,20}}\s?=|\Z))",
    rf"(\[\s{{0,4}}{_LITTLE})(?=[^\]]{{0,200}}?\d)(?:{_STRING})(?=\s{{0,4}},?\s{{0,4}}(?:\]|\Z))",
    # A phrase has several words.
    rf"((?:passphrase|{_PHRASE}){_QUOTE}\s{{0,8}}[:=]\s{{0,8}})[^\s\"',;&()<>{{}}\]\[][^\r\n\"',;&()<>{{}}\]\[]*",
)
_SPOKEN_OF = _rules(
    rf"(\b(?:api|access|secret|private|signing)\s(?:key|token)(?:\s(?:provided|given|used|sent|received))?\s{{0,4}}[:=]"
    rf"\s{{0,4}}){_SAID}(?:(?:{_STRING})|{_VALUE}+)",
    # A wallet's words, as many as there are at the least.
    r"(\b(?:mnemonic|phrase|words)\b(?:\s(?:is|was|of))?[\s:\"'=]{1,4})(?:[a-z]{3,8}[\s,]{1,3}){11,23}[a-z]{3,8}\b",
)
_SENTENCES = _rules(
    # A secret that a sentence is about; a parser's token is none.
    rf"((?<![A-Za-z])(?<!unexpected\s)(?:secret|token|(?:api|access|secret|private|signing|client|auth)[\s_-]?key)"
    rf"\s{{1,4}}(?:(?:is|was)\s{{1,4}})?[(]?{_QUOTES}?){_MIXED}",
    rf"(\b(?:your|my|our)\s(?:\w{{1,20}}\s)?key(?:\s(?:is|was):?\s|\s{{0,4}}[:=])\s{{0,4}}{_QUOTES}?)"
    rf"{_MIXED}",
    rf"(\bSecret(?:Str|Bytes|Value)?\()(?:{_STRING})",
    # Whose it is stands between. A key and a token may also be those of a table, a model or a price.
    rf"((?:password|passphrase|secret|(?<!per\s)(?:token|key)(?!\s(?:for|of)\s(?:the\s)?{_THINGS}))\s(?:for|of)\s(?:the\s)?(?:user\s|account\s)?{_QUOTES}?[^\s:\"']{{1,60}}"
    rf"{_QUOTES}?(?::|\sis:?|\swas:?|\s=)\s{{1,4}}{_QUOTES}?){_MIXED}",
)
_LISTS = _rules(
    # "tokens" and "keys" are words, too: it is told by whose they are, or by what stands in the list.
    rf"((?:access|refresh|api|auth|bearer|session|device|push)[-_]?(?:tokens|keys){_QUOTE}\s{{0,4}}[:=]\s{{0,4}}\[)"
    r"(?=\s{0,8}[bru]{0,2}[\"'])[^\]]{1,10000}",
    rf"([\"'](?:tokens|keys)[\"']\s{{0,4}}:\s{{0,4}}\[)(?=\s{{0,8}}[\"']{_MIXED})[^\]]{{1,10000}}",
)
_CODES = _rules(
    # Of digits alone, so it must be said what for.
    r"(\b(?:otp|totp|2fa|mfa|sms|pin|one-time|verification|security)(?:[\s_-](?:code|password|passcode|pin))?"
    rf"\s{{0,4}}(?:(?:is|was)\s{{1,4}}|[:=]\s{{0,4}})?{_QUOTES}?)\d{{4,10}}\b",
    rf"((?<=[\"'])pin{_QUOTE}\s{{0,8}}[:=]\s{{0,8}})(?:(?:{_STRING})|{_VALUE}+)",
)
_LOGINS = _rules(
    # A user and a password, as they are joined; a number behind a colon is a port.
    rf"(\b(?:login|user(?:name)?|creds?|credentials?)={_QUOTES}?[^\s:/\"'=,;&]{{1,100}}:)(?!//|\d{{1,5}}(?!\w))"
    r"[^\s\"',;&]+",
    rf"(\b(?:login|user(?:name)?|account|credentials?)\s{{1,4}}(?:(?:for|of)\s{{1,4}})?{_QUOTES}?(?!arn:|urn:)"
    rf"[A-Za-z][^\s:/\"'=,;&]{{0,100}}:){_MIXED}",
    rf"(\b(?:login|creds?|credentials?|user(?:name)?/pass(?:word)?)\b(?:\s(?:is|are|was|were|for|of))?[\s:=(]{{1,4}}{_QUOTES}?"
    rf"[A-Za-z][^\s:/\"'=,;&]{{0,100}}/){_MIXED}",
    rf"(\b(?:basic|proxy|digest)\s{{1,4}}auth\s{{1,4}}{_QUOTES}?[^\s:/\"'=,;&]{{1,100}}:){_MIXED}",
    # In base64: with a digit, a capital within, or its filling; a command's "auth login" is followed by words.
    r"(\bauth\s(?:plain|login|xoauth2)\s{1,4})(?=[\w+/=-]{8})(?=[\w+/-]{0,200}?(?:[\d=]|(?-i:[a-z][A-Z]|[A-Z]{2}[a-z])))"
    r"[^\s\"']+",
)
_GRANTS = _rules(
    rf"((?<![\w-])code=)[^\s&;\"'<>()]+(?=&(?:[^\s\"'<>()]{{0,300}}&)?{_BESIDE})",
    rf"((?<![\w-]){_BESIDE}[^\s\"'<>()]{{0,300}}?&code=)[^\s&;\"'<>()]+",
    # A code of an error is words, and a number behind them.
    rf"([?&]code=)(?![A-Za-z_.-]{{0,60}}\d{{0,6}}(?:[\s&;\"'<>()]|\Z)){_MIXED}",
)
_ELSEWHERE = _rules(rf"((?:{'|'.join(_FOREIGN)}){_QUOTE}\s{{0,4}}[:=\uff1a]\s{{0,4}})(?:(?:{_STRING})|{_VALUE}+)")
_OPTIONS = (
    *_rules(
        rf"({_USER}(?:[ \t]{{1,8}}|=|[\"']\s{{0,4}},\s{{0,4}})([\"'])[^\s:\"']{{0,100}}:)(?!//)"
        r"(?:(?!\2).){1,300}(?:\2|\Z)",
        shown=rf"\1{_GONE}\2",
    ),
    *_rules(
        # Two numbers are a container's user and group.
        rf"({_USER}(?:[ \t]{{1,8}}|=)(?!\d+:\d+(?!\S))[^\s:\"']{{0,100}}:)(?!//)[^\s\"',;]+",
        r"(\bcurl\b[^\r\n]{0,200}?\s-u)[^\s:\"'-][^\s:\"']{0,100}:[^\s\"']+",
        # A password, unless it is a port or a path, or is these commands' own option.
        r"((?<![\w-])(?<!mkdir )(?<!\bcp )(?<!\bps )(?-i:-p)[ \t]{1,4})"
        r"(?![-./~$]|(?:[\d.]{7,15}:)?\d{1,5}(?::\d+|/\w+)*(?!\S)"
        rf"|(?:port|path|file|dir|password|name|number|pid|project|profile)\b){_SPOKEN}{_GIVEN}",
        rf"([\"'](?-i:-p)[\"']\s{{0,4}},\s{{0,4}})(?!\w?[\"'][\d:]{{1,11}}[\"']){_STRING}",
        r"(\b(?:mysql|mariadb)[\w-]{0,12}\b[^\r\n]{0,200}?[\s\"'](?-i:-p))[^\s\"',;]+",
        rf"(\b(?:redis|valkey)-cli\b[^\r\n]{{0,200}}?\s-a[ \t]{{1,4}}){_GIVEN}",
    ),
)
# Addresses whose path is the secret: Slack's and others' hooks, Discord's, Teams', a Telegram bot's.
_PATHS = _rules(
    r"(\bhooks\.[\w.-]{1,80}/(?:[a-z]{1,12}/){0,2}+)[^\s\"'<>()?#]+",
    r"(/services/(?-i:T[A-Z0-9]{2,20})/)[^\s\"'<>()?#]+",
    r"(/(?:webhooks|interactions)/\d{1,25}/)[^\s\"'<>()/?#]+",
    r"(/(?:webhookb2|incomingwebhook)/)[^\s\"'<>()?#]+",
    r"(/bot)\d{3,20}(?::|%3A)[^\s\"'<>()/?#]+",
)
_QUERIES = _rules(rf"(?<![\w-])((?:{'|'.join(_PARAMETERS)})(?:=|%3D))[^\s&;\"'<>()]+")
# Without one of its signs, in small letters, no rule of a group can hold, and most texts have none.
_GROUPS: tuple[tuple[tuple[str, ...], _Rules], ...] = (
    (("-----begin",), _FILES),
    (("@",), _USERS),
    (("key", "token", "mnemonic", "phrase", "words"), _SPOKEN_OF),
    (("key", "token", "secret", "password", "passphrase"), _SENTENCES),
    (("otp", "2fa", "mfa", "sms", "pin", "one-time", "verification", "security"), _CODES),
    (("login", "user", "cred", "account", " auth", "auth "), _LOGINS),
    (("code=",), _GRANTS),
    (_FOREIGN, _ELSEWHERE),
    (("hook", "/services/", "/interactions/", "/bot"), _PATHS),
    (tuple(f"{name}{sign}" for name in _PARAMETERS for sign in ("=", "%3d")), _QUERIES),
)
_SHORT_OPTIONS = ("-u", "-p", "-a", "-user")
_OPTION = re.compile(r"(?<![\w-])-(?:[upa]|-(?:(?:proxy-|http-)?user|auth))", re.IGNORECASE)
_STEMS: tuple[str, ...] = (
    *("pass", "secret", "token", "key", "sign", "credential", "auth", "cookie", "session", "pw", "jwt", "hmac", "hash"),
    *("access_code", "access-code", "accesscode", "sessid", "creds"),
    *("otp", "sid", "csrf", "xsrf", "bearer", "mnemonic", "phrase", "words", "assertion"),
)
# A name, and something that leads from it to a value.
_NAME_SIGN = re.compile(rf"{_NAMES}|(?<![A-Za-z])auth|(?:basic|digest|proxy)auth", re.IGNORECASE)
_LEADS = re.compile(r"[:=|]|->|%3|--|[\"']\s{0,4},|</?|auth\(|pass|pwd", re.IGNORECASE)
# What a name leads to may be a list, or a dictionary, in the notation of any language.
_OPEN = re.compile(
    rf"(?:{_NAMED[1:-1]}|(?<![A-Za-z])auth{_QUOTE}\s{{0,4}}[:=]\s{{0,4}}|(?:basic|digest|proxy)auth)(?=[\[({{])",
    re.IGNORECASE,
)
_BRACKET = re.compile(rf"(?P<open>[\[({{])|(?P<close>[\])}}])|{_STRING}", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rf"{_NAMES}|(?:\A|[-_.])auth\Z|\A(?:{'|'.join(_PARAMETERS)})\Z", re.IGNORECASE)
_SHORT = 100
_PASSES = 5
_SHORTEST_KNOWN = 6
_LONGEST_WORD = 12
# A variable that says where a secret is holds none.
_PLACE = re.compile(r"(?:dir|file|path|sock|url|uri|host|user|name)\Z", re.IGNORECASE)
_MOST_KNOWN = 1_000
_known: set[str] = set()
_pattern: list[re.Pattern[str] | None] = [None]


def redact(text: str) -> str:
    """
    Return *text* with `NOT_SHOWN` in place of whatever is a secret by its place, its look, or by being known.
    """
    return _remembered(text) if len(text) <= _SHORT else _redacted(text)


# Names of services, endpoints, types and fields come again and again.
@lru_cache(maxsize=2_048)
def _remembered(text: str) -> str:
    return _redacted(text)


def _redacted(text: str) -> str:
    # What is hidden may bring together what stood around it: it is looked at until nothing changes.
    for _ in range(_PASSES):
        found = _hidden(text)
        if found == text:
            break
        text = found
    return text


def _hidden(text: str) -> str:
    # One character stands for what is hidden meanwhile, so that nothing takes it for a word.
    text = text.replace(_GONE, "?").replace(NOT_SHOWN, _GONE)
    pattern = _pattern[0]
    if pattern is not None:
        text = pattern.sub(_GONE, text)
    # "tokens" are counted: no name, where it isn't a part of "tokensecret".
    small = text.casefold().replace("tokens", "s")
    if any(map(small.__contains__, _STEMS)) and _NAME_SIGN.search(text) and _LEADS.search(text):
        text = _applied(_BEHIND_NAMES, _without_lists(text))
    if "[" in text and ("keys" in small or "tokens" in text.casefold()):
        text = _applied(_LISTS, text)
    for signs, rules in _GROUPS:
        if any(map(small.__contains__, signs)):
            text = _applied(rules, text)
    if any(map(small.__contains__, _SHORT_OPTIONS)) and _OPTION.search(text):
        text = _applied(_OPTIONS, text)
    pieces = _URL.split(text) if "://" in text else [text]
    # Long as a whole, with all kinds of letters, a URL is no key; its parts may be.
    pieces[::2] = map(_looked_at, pieces[::2])
    pieces[1::2] = (_PART.sub(lambda part: _looked_at(part[0]), url) for url in pieces[1::2])
    return "".join(pieces).replace(_GONE, NOT_SHOWN)


def _applied(rules: _Rules, text: str) -> str:
    for rule, shown in rules:
        text = rule.sub(shown, text)
    return text


def _without_lists(text: str) -> str:
    """
    Return *text* without what stands in brackets behind a secret's name, to the matching end.
    """
    pieces, done = [], 0
    for found in _OPEN.finditer(text):
        if found.start() < done:
            continue
        pieces += [text[done : found.end()], _GONE]
        depth, done = 0, len(text)
        for each in _BRACKET.finditer(text, found.end()):
            depth += (each.lastgroup == "open") - (each.lastgroup == "close")
            if not depth:
                done = each.end()
                break
    return "".join([*pieces, text[done:]])


def _looked_at(text: str) -> str:
    return hide(text).replace(NOT_SHOWN, _GONE)


def is_secret_name(name: str) -> bool:
    """
    Whether what is called *name* is a secret, whatever it looks like.
    """
    return _NAME.search(name[:200]) is not None


def cut(text: str, most: int) -> str:
    """
    Return the first *most* characters of *text*, up to the last whole word: half a secret looks like none.

    Of a known secret, which may have several words, no part is left.
    """
    if len(text) <= most:
        return text
    for secret in tuple(_known):
        at = text.find(secret, max(0, most - len(secret) + 1), most + len(secret) - 1)
        if 0 <= at < most:
            most = at
    head = text[:most]
    whole = re.sub(r"\S+\Z", "", head)
    return whole or head


def learn(secret: str) -> None:
    """
    Hide *secret* from now on wherever it turns up.

    One of fewer than 6 characters, or of fewer than 12 letters and nothing else, is none: it would hide words.
    """
    secret = secret.strip()
    is_word = len(secret) < _SHORTEST_KNOWN or (secret.isalpha() and len(secret) < _LONGEST_WORD)
    if is_word or secret in _known or len(_known) >= _MOST_KNOWN:
        return
    _known.add(secret)
    # The longest first: one may begin with another.
    _pattern[0] = re.compile("|".join(map(re.escape, sorted(_known, key=len, reverse=True))))
    _remembered.cache_clear()


def learn_environment(environment: Mapping[str, str] | None = None) -> None:
    """
    Hide the values of those variables of *environment*, this process's own by default, that are called secrets.
    """
    for name, value in (os.environ if environment is None else environment).items():
        if is_secret_name(name) and _PLACE.search(name) is None:
            learn(value)
