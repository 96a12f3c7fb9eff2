"""
The commented file that ``egressor init`` writes.

It teaches: every section, every setting, its default. A line that begins with ``# `` is prose; one that begins with
``#`` and no space is a setting that may be taken as it stands, and a test takes all of them.
"""

from __future__ import annotations

__all__ = ["TEMPLATE"]

TEMPLATE = """\
# Egressor: what each outside service allows, and what to do when it doesn't answer.
#
# Check it:    egressor check          (every error with its line; every value with where it came from)
# Understand:  egressor explain openai (the steps that a call takes)
# Times are seconds. Whatever a service leaves out comes from its type's preset, then from the defaults.

[egressor]
# Where the counters live: memory: (this process), sqlite:///file (this host), redis://host:6379/0 (a fleet). Without it
# `egressor serve` and the commands share a file in the user's state folder, and a library keeps them in the process.
#store = "memory:"
# Where history lives: memory:, sqlite:///file (three slashes and a path), postgresql://user@host/database. Without it
# likewise.
#ledger = "memory:"
# How long its entries are kept, in seconds, and how many: by default a year, and a million.
#history_for = 31_622_400.0
#history_most = 1_000_000
# When what a budget holds and charges is on the disk, in SQLite: normal (a power cut may cost the last 15 seconds) or
# full (each call waits for the disk).
#money_sync = "normal"
# While the store is away: share (this process keeps its share of each limit), open (each process takes every limit in
# full), closed (no call).
#on_store_loss = "share"
# What a transport does with a host that no service names: pass or refuse.
#unknown_hosts = "pass"

# Where `egressor serve` listens.
[gateway]
#host = "127.0.0.1"
#port = 8787
# Names under which clients reach it, besides loopback names and the host above.
#hosts = ["gate.example"]
# Processes that listen; more than one need a store that they can share: any but memory:.
#workers = 1
# Seconds that requests in flight get to finish at the end.
#grace = 10.0
# Clients' connections at a time; bytes of a request's body.
#max_connections = 4096
#max_body = 1_073_741_824
# Bytes up to which a body is read before it is sent, where its price, tokens or model depend on it; and of all of them.
#kept_body = 33_554_432
#kept_bodies = 268_435_456
# Seconds: for a request's head; without a piece of its body; without the client taking any of the answer; between two.
#header_timeout = 10.0
#body_timeout = 30.0
# Bytes a second that a body of more than 64 KiB must bring while it is waited for; 0 is no bound.
#body_rate = 1024
#send_timeout = 60.0
#idle_timeout = 75.0
# Seconds for a whole request, its answer's last byte included; without it there is no bound.
#total_timeout = 600.0
# Connections to one upstream at a time.
#upstream_connections = 1000
# off, or env: reach upstreams through the HTTP proxy that the environment names.
#proxy = "off"

# Who may use it. One table per client; `egressor key NAME` makes a key, and prints the table. Without keys it listens
# on this machine only.
#[[gateway.keys]]
#name = "reports"
#sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
#user = "reports"
#feature = "nightly"
#services = ["openai"]
# The models that it may ask; * stands for any text.
#models = ["gpt-4o-mini", "claude-*"]
# What its requests may cost, in US dollars, on all services together.
#budget = { day = 5.0, month = 50.0 }
# The highest priority that its requests have; requests that it may have open at a time.
#max_priority = "medium"
#max_in_flight = 100

# One table per service. The name is yours: a-z, 0-9, _, . and -; it is the first part of the gateway's paths.
[services.openai]
# llm_api | social_media | exchange_api | web_scraper | internal_api; without a type there is no limit by default.
type = "llm_api"
base_url = "https://api.openai.com/v1"
# Whether its name may lead to a private address; an address that is written as one needs no word.
#private = false
# Whose headers and bodies it speaks.
#dialect = "generic"
# The gateway adds the key upstream. It never stands here: name an environment variable, or { file = "/path" }.
#api_key = { env = "OPENAI_API_KEY" }

# AMOUNT [UNIT] / [N] PERIOD [burst B | fixed]. All limits hold at once, and replace the preset's as a whole.
#   "20/minute"                 never more than 20 in any minute
#   "20/minute burst 5"         20 a minute sustained, at most 5 at once
#   "10000/day fixed"           windows that follow the clock, as daily quotas do
#   "200_000 tokens/minute"     any unit that your calls' costs name; without one, requests
# The preset of llm_api:
#limits = ["0.5/second burst 2", "20/minute"]
# Attempts in flight at once; false for no bound.
#max_concurrency = 32
# How long a call may wait for its turn, and how many may wait.
#max_wait = 60.0
#queue_size = 10_000
# One attempt's time. A lease outlives it, and is taken back if its holder has vanished.
#timeout = 60.0
#lease_for = 120.0
# Priority of calls that state none: low, medium, high, critical. Waiting raises it by one level each so many seconds.
#priority = "medium"
#age_after = 15.0
# What answers teach: off or headers; with headers what they say is left of the server's limits holds calls back, too.
#learn = "headers"
# Where the windows of "fixed" limits begin.
#timezone = "UTC"

# When the service counts as down.
[services.openai.breaker]
#enabled = true
# Failures in a row that open it (preset of llm_api: 3; default: 5); 0 turns this off.
#consecutive = 3
# Shares of failed and slow calls in the window that open it; false turns them off, which is the default.
#failure_rate = 0.5
#slow_rate = 0.8
#slow_call = 10.0
#window = 60.0
#min_calls = 10
# How long it stays open: first, at most, and how much longer each time that it opens again.
#open_for = 60.0
#max_open_for = 600.0
#growth = 2.0
# Calls that try whether the service is back.
#probes = 1
# Only count and report, refuse nothing.
#shadow = false
# While the service accepts only some of its calls, refuse those of lower priorities first: low ones while it accepts
# less than one in shed_k, medium ones while less than one in twice as many, high ones in four times as many.
#shed = true
#shed_k = 2.0

# How failed attempts are tried again.
[services.openai.retry]
# In all, the first one included (preset of llm_api: 3; default: 4).
#attempts = 3
#base = 1.0
#factor = 2.0
#cap = 120.0
#jitter = true
# Retries over all callers, as a share of calls; false for no bound.
#budget = 0.1
# Whatever may have been executed is sent again only if it is idempotent.
#idempotent_only = true

# How long the service is left alone after it banned us: first, at most, and how much longer each time.
[services.openai.ban]
#suspend_for = 14_400.0
#challenge_for = 300.0            # after a page that wants to see a human; 0: off
#max_suspend_for = 604_800.0
#growth = 2.0

# US dollars that may be spent: by hour, day, week, month, in all. Calls say what they may cost: cost={"usd": 0.01}.
#[services.openai.budget]
#day = 10.0
#month = 200.0
#soft = 0.8                       # share from which on it warns
#timezone = "UTC"                 # where days, weeks and months begin
#unbounded = false                # true: instead of bounding anything, add up what calls cost

# Answers that are kept, and given again where the same is asked; without the table there are none.
#[services.openai.cache]
#ttl = 3_600.0
# Keep what a model has drawn by chance, too: at a temperature above 0, or at its own.
#any_temperature = false
# How much longer an answer serves where the service fails or is refused; 0: not at all.
#stale_if_error = 0.0
#max_entries = 10_000
#max_bytes = 67_108_864

# An endpoint with settings of its own; they add to the service's.
#[services.openai.endpoints.embeddings]
#limits = ["1000/minute"]

# The same by user, feature, endpoint, model; "*" gives each value a count of its own.
#[[services.openai.rules]]
#match = { user = "*", feature = "chat" }
#limits = ["5/minute"]
#max_concurrency = 2
#priority = "low"
#budget = { day = 1.0 }

# What requests to language models cost, before the public prices. A model without a price is refused where a budget
# applies, or estimated at the ceiling.
#[prices]
#on_unknown_price = "refuse"

#[[prices.models]]
#model = "our-own-llama"
#usd_per_mtok = { input = 0.2, output = 0.8 }

# What errors mean here; asked before the dialect.
#[[services.openai.errors]]
#messages = ["tokens for today"]
#statuses = [429]
#category = "quota_exhausted"
"""
"""
The text of the file.
"""
