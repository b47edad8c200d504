"""What every handler works with: the core, the projection, the metrics and the settings."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.gateway.rate_limits import RateLimits
from raft_exchange.history.service import History
from raft_exchange.marketdata.view import MarketData
from raft_exchange.metrics import Metrics
from raft_exchange.sequencer.operations import Operations
from raft_exchange.sequencer.outcome import Core


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway is told at start.

    `allowed_hosts` are host names (no port) under which this node may be addressed, besides the
    loopback names; `cors_origins` are the foreign web origins that may call it. `accounts` says
    whether a new market has balances unless its opener says otherwise. With `auth_required`
    requests show keys, with `require_signed_orders` whatever touches orders is signed, and new
    markets take nothing else unless their opener says otherwise. `metrics_moved` says that
    `/metrics` has a port of its own.
    """

    node: str
    default_market: str = "BTC-USD"
    seed_services: bool = True
    accounts: bool = False
    auth_required: bool = False
    metrics_moved: bool = False
    require_signed_orders: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    cors_origins: frozenset[str] = frozenset()
    ready_contact_age_ms_max: int = 2_000
    ready_apply_lag_entries_max: int = 1_000


def has_seed_surface(settings: Settings) -> bool:
    """Say whether the seed routes are served."""
    return settings.seed_services and bool(settings.default_market)


Introduce = Callable[[str, str], bytes]
"""From a nonce, empty for none, and the address of ours that was asked, to the JSON of who we are,
proved with the cluster secret."""


Vouches = Callable[..., bool]
"""Whether a proof, the second argument, was made by a holder of the cluster secret for the purpose
that is the first, over the bytes that are the others."""


Derive = Callable[..., bytes]
"""From any bytes to 32 that every node of the cluster gives for them, and nobody else can tell."""


def _vouches_for_nobody(purpose: str, proof: bytes, *fields: bytes) -> bool:
    return False


class Front(msgspec.Struct, frozen=True):
    """What answers need before there is a group: `guard` and the routes of every phase use it."""

    metrics: Metrics
    settings: Settings
    introduce: Introduce
    vouches: Vouches = _vouches_for_nobody


class Context(msgspec.Struct, frozen=True):
    """The gateway's collaborators, handed to every handler; without history, memory is all.

    `derive` is what new keys are made with. Without `limits` anybody may send as fast as they can.
    """

    core: Core
    marketdata: MarketData
    metrics: Metrics
    settings: Settings
    operations: Operations
    derive: Derive
    history: History | None = None
    limits: RateLimits = msgspec.field(default_factory=RateLimits)


FRONT: Final = web.AppKey("front", Front)
CONTEXT: Final = web.AppKey("context", Context)
REQUEST_ID: Final = web.RequestKey("request_id", str)


class RequestIds:
    """Names for requests that came without one: unique in this process, unguessable before."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """Return the next name."""
        return f"{self._prefix}-{next(self._numbers)}"
