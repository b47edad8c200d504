"""The one table of routes: what is served, what it takes, and everything it may answer.

`app` serves it, `openapi` describes it, and the tests hold every answer they see against it.
"""

from __future__ import annotations

from typing import Final

from raft_exchange.decoding.errors import ErrorCode as E
from raft_exchange.gateway import (
    account_answers,
    accounts,
    answers,
    asyncapi,
    batches,
    compound_orders,
    docs,
    health,
    introduction,
    markets,
    openapi,
    order_queries,
    orders,
    page,
    past,
    prices,
    seed_events,
    seed_surface,
    stream,
    websocket,
)
from raft_exchange.gateway.cluster_routes import BODY, CLUSTER_ROUTES, PROOF, QUERY
from raft_exchange.gateway.guard import Handler
from raft_exchange.gateway.openapi import Route
from raft_exchange.gateway.reads import FRESHNESS
from raft_exchange.gateway.stream import EVENT_STREAM
from raft_exchange.history.backfill import PATH as HISTORY_PATH
from raft_exchange.metrics import CONTENT_TYPE

BARRIER: Final = (E.NO_LEADER, E.OVERLOADED, E.BEHIND, E.DRAINING, E.READ_ONLY, E.UPGRADE_PENDING)
READ: Final = (*QUERY, *BARRIER)
WRITE: Final = (
    E.UNKNOWN_ACCOUNT,
    *(E.BAD_FIELD, E.IDEMPOTENCY_MISMATCH, E.DEADLINE_PASSED, E.LIMIT_REACHED, E.OUTCOME_UNKNOWN),
    *BARRIER,
)
PLACE: Final = (
    *(*WRITE, *BODY, E.UNKNOWN_MARKET, E.DUPLICATE_CLIENT_ORDER_ID, E.OFF_TICK, E.OFF_LOT),
    *(E.OUT_OF_RANGE, E.MIN_NOTIONAL, E.WOULD_TAKE, E.UNFILLABLE, E.MARKET_HALTED),
    *(E.INVALID_COMBINATION, E.TOO_MANY_ORDERS, E.INSUFFICIENT_FUNDS, E.STOP_WOULD_TRIGGER),
    *(E.PRICE_BAND, E.RISK_LIMIT, E.ACCOUNT_FROZEN),
)
OWN_ORDER: Final = (E.UNKNOWN_ORDER, E.NOT_OPEN)
GRID: Final = (E.OFF_TICK, E.OFF_LOT, E.OUT_OF_RANGE)
ACCOUNT: Final = ("X-Account",)
ENVELOPE: Final = (*ACCOUNT, "Idempotency-Key", "X-Deadline")
DRY_RUN: Final = ("dry_run",)
SEED_FAILURE: Final[tuple[type, ...]] = (answers.SeedFailure,)
HTML: Final = docs.TYPES[docs.PAGE]


ROUTES: Final = (
    Route(
        *("POST", "/v1/orders", orders.post_order),
        {201: (answers.PlacedAnswer,), 200: (answers.RehearsedAnswer,)},
        PLACE,
        body="NewOrder",
        query=DRY_RUN,
        headers=ENVELOPE,
    ),
    Route(
        *("POST", "/v1/orders/batch", batches.post_batch),
        {200: (answers.BatchAnswer,)},
        (*WRITE, *BODY),
        body="NewOrders",
        headers=ENVELOPE,
    ),
    Route(
        *("POST", "/v1/orders/oco", compound_orders.post_oco),
        {201: (answers.PairAnswer,), 200: (answers.RehearsedPairAnswer,)},
        PLACE,
        body="NewPair",
        query=DRY_RUN,
        headers=ENVELOPE,
    ),
    Route(
        *("POST", "/v1/orders/{order_id}/replace", compound_orders.post_replace),
        {201: (answers.ReplacedAnswer,), 200: (answers.RehearsedAnswer,)},
        (*PLACE, *OWN_ORDER),
        body="NewOrder",
        query=DRY_RUN,
        headers=ENVELOPE,
    ),
    Route(
        *("POST", "/v1/cancel-after", compound_orders.post_cancel_after),
        {200: (answers.SwitchAnswer,)},
        (*WRITE, *BODY, E.OUT_OF_RANGE),
        body="Switch",
        headers=ENVELOPE,
    ),
    Route(
        *("PATCH", "/v1/orders/{order_id}", orders.patch_order),
        {200: (answers.PlacedAnswer, answers.RehearsedAnswer)},
        (*PLACE, *OWN_ORDER),
        body="OrderChange",
        query=DRY_RUN,
        headers=ENVELOPE,
    ),
    Route(
        *("DELETE", "/v1/orders/{order_id}", orders.delete_order),
        {200: (answers.OrderAnswer,)},
        (*WRITE, *OWN_ORDER),
        headers=ENVELOPE,
    ),
    Route(
        *("DELETE", "/v1/orders/by-client-id/{client_order_id:.+}", orders.delete_by_client_id),
        {200: (answers.OrderAnswer,)},
        (*WRITE, *OWN_ORDER),
        headers=ENVELOPE,
    ),
    Route(
        *("DELETE", "/v1/orders", orders.delete_orders),
        {200: (answers.CanceledAnswer,)},
        (*WRITE, E.UNKNOWN_MARKET),
        query=("market", "side"),
        headers=ENVELOPE,
    ),
    Route(
        *("GET", "/v1/orders", order_queries.get_orders),
        {200: (answers.OrdersPage,)},
        (*READ, E.UNKNOWN_MARKET),
        query=("market", "status", "client_order_id", "limit", "cursor", *FRESHNESS),
        headers=ACCOUNT,
    ),
    Route(
        *("GET", "/v1/orders/{order_id}", order_queries.get_order),
        {200: (answers.OrderAnswer,)},
        (*READ, E.UNKNOWN_ORDER),
        query=FRESHNESS,
        headers=ACCOUNT,
    ),
    Route(
        *("GET", "/v1/account", accounts.get_own_account),
        {200: (account_answers.OwnAccountAnswer,)},
        (*READ, E.UNKNOWN_ACCOUNT),
        query=FRESHNESS,
        headers=ACCOUNT,
    ),
    Route(
        *("GET", "/v1/fills", accounts.get_fills),
        {200: (account_answers.FillsPage,)},
        (*READ, E.UNKNOWN_MARKET),
        query=("market", "limit", "cursor", *FRESHNESS),
        headers=ACCOUNT,
    ),
    Route(
        *("POST", "/v1/accounts", accounts.post_account),
        {201: (account_answers.AccountAnswer,)},
        (*WRITE, *BODY, E.ALREADY_EXISTS),
        body="NewAccount",
        headers=ENVELOPE,
    ),
    Route(
        *("GET", "/v1/accounts/{account}", accounts.get_account),
        {200: (account_answers.AccountAnswer,)},
        (*READ, E.UNKNOWN_ACCOUNT),
        query=FRESHNESS,
    ),
    Route(
        *("PATCH", "/v1/accounts/{account}", accounts.patch_account),
        {200: (account_answers.AccountChangedAnswer,)},
        (*WRITE, *BODY, *GRID, E.UNKNOWN_MARKET),
        body="AccountChange",
        headers=ENVELOPE,
    ),
    *(
        Route(
            *("POST", "/v1/accounts/{account}/" + path, handler),
            {201: (account_answers.TransferAnswer,), 200: (account_answers.TransferAnswer,)},
            (*WRITE, *BODY, E.OUT_OF_RANGE, E.INSUFFICIENT_FUNDS, E.INVALID_COMBINATION),
            body="Transfer",
            headers=ENVELOPE,
        )
        for path, handler in (
            ("deposits", accounts.post_deposit),
            ("withdrawals", accounts.post_withdrawal),
        )
    ),
    Route(
        *("GET", "/v1/accounts/{account}/keys", accounts.get_keys),
        {200: (account_answers.KeysAnswer,)},
        (*READ, E.UNKNOWN_ACCOUNT),
        query=FRESHNESS,
    ),
    Route(
        *("POST", "/v1/accounts/{account}/keys", accounts.post_key),
        {201: (account_answers.KeyAnswer,)},
        (*WRITE, *BODY, E.UNKNOWN_KEY, E.ALREADY_EXISTS),
        body="NewKey",
        headers=ENVELOPE,
    ),
    Route(
        *("DELETE", "/v1/accounts/{account}/keys/{key_id}", accounts.delete_key),
        {200: (account_answers.KeyAnswer,)},
        (*WRITE, E.UNKNOWN_KEY),
        headers=ENVELOPE,
    ),
    Route(
        *("GET", "/v1/markets", markets.get_markets),
        {200: (answers.MarketsAnswer,)},
        READ,
        query=FRESHNESS,
    ),
    Route(
        *("POST", "/v1/markets", markets.post_market),
        {201: (answers.MarketAnswer,)},
        (*WRITE, *BODY, *GRID, E.ALREADY_EXISTS, E.INVALID_COMBINATION),
        body="NewMarket",
        headers=ENVELOPE,
    ),
    Route(
        *("GET", "/v1/markets/{market}", markets.get_market),
        {200: (answers.MarketAnswer,)},
        (*READ, E.UNKNOWN_MARKET),
        query=FRESHNESS,
    ),
    Route(
        *("PATCH", "/v1/markets/{market}", markets.patch_market),
        {200: (answers.MarketAnswer,)},
        (*WRITE, *BODY, *GRID, E.UNKNOWN_MARKET, E.INVALID_COMBINATION),
        body="MarketChange",
        headers=ENVELOPE,
    ),
    Route(
        *("GET", "/v1/markets/{market}/book", markets.get_book),
        {200: (answers.BookAnswer,)},
        (*READ, E.UNKNOWN_MARKET),
        query=("depth", "level", *FRESHNESS),
    ),
    Route(
        *("GET", "/v1/markets/{market}/trades", markets.get_trades),
        {200: (answers.TradesPage,)},
        (*READ, E.UNKNOWN_MARKET),
        query=("limit", "before", *FRESHNESS),
    ),
    Route(
        *("GET", "/v1/markets/{market}/ticker", prices.get_ticker),
        {200: (prices.TickerView,)},
        (*READ, E.UNKNOWN_MARKET),
        query=FRESHNESS,
    ),
    Route(
        *("GET", "/v1/markets/{market}/candles", prices.get_candles),
        {200: (prices.CandlesAnswer,)},
        (*READ, E.UNKNOWN_MARKET),
        query=("interval", "start", "end", "limit", *FRESHNESS),
    ),
    Route(
        *("GET", "/v1/stream", stream.get_stream),
        {200: ()},
        (*READ, E.UNKNOWN_MARKET),
        query=("channels", "from_sequence"),
        headers=(*ACCOUNT, "Last-Event-ID"),
        content_type=EVENT_STREAM,
    ),
    Route(
        *("GET", "/v1/ws", websocket.get_websocket),
        {101: ()},
        (*QUERY, E.OVERLOADED, E.DRAINING),
        headers=ACCOUNT,
        content_type="",
    ),
    Route(
        *("GET", "/v1/time", markets.get_time),
        {200: (answers.TimeAnswer,)},
        READ,
        query=FRESHNESS,
    ),
    *CLUSTER_ROUTES,
    Route(
        *("GET", "/v1/node", introduction.get_node),
        {200: (answers.IntroductionView,)},
        QUERY,
        query=("nonce",),
    ),
    Route("GET", "/openapi.json", openapi.get_openapi, {200: ()}),
    Route("GET", "/", page.get_page, {200: (), 304: ()}, QUERY, content_type=HTML),
    Route("GET", "/index.html", page.get_page, {200: (), 304: ()}, QUERY, content_type=HTML),
    Route(
        *("GET", "/web/{digest}/{file:.+}", page.get_file, {200: ()}, QUERY),
        content_type="*/*",
    ),
    Route("GET", "/docs", docs.get_docs, {200: ()}, QUERY, content_type=HTML),
    Route("GET", "/docs/{file}", docs.get_file, {200: ()}, QUERY, content_type="*/*"),
    Route("GET", "/asyncapi.json", asyncapi.get_asyncapi, {200: ()}),
    Route(
        *("GET", "/livez", health.get_livez),
        {200: (answers.LifeAnswer,), 503: (answers.LifeAnswer,)},
    ),
    Route(
        *("GET", "/readyz", health.get_readyz),
        {200: (answers.ReadinessAnswer,), 503: (answers.ReadinessAnswer,)},
        query=("verbose",),
    ),
    Route("GET", "/metrics", health.get_metrics, {200: ()}, content_type=CONTENT_TYPE),
)
HISTORY_ROUTE: Final = Route(
    *("GET", HISTORY_PATH, past.get_history),
    {200: (answers.HistoryAnswer,)},
    (*QUERY, E.OVERLOADED),
    query=("from_sequence", "limit"),
    headers=PROOF,
)
SEED_ROUTES: Final = (
    Route(
        *("GET", "/state", seed_surface.get_state),
        {200: (answers.SeedState,)},
        (*BARRIER, E.UNKNOWN_MARKET),
    ),
    Route("GET", "/events", seed_events.get_events, {200: ()}, content_type=EVENT_STREAM),
    Route(
        *("POST", "/order", seed_surface.post_order),
        dict.fromkeys((200,), (answers.SeedPlaced,))
        | dict.fromkeys((400, 401, 403, 409, 413, 415, 422, 503), (answers.SeedFailure,)),
        body="SeedOrder",
    ),
    Route(
        *("DELETE", "/order/{order_id}", seed_surface.delete_order),
        dict.fromkeys((400, 401, 403, 422, 503), SEED_FAILURE) | {200: (answers.SeedCanceled,)},
    ),
)


def grenache_route(handler: Handler) -> Route:
    """Return the route of Grenache calls, which the services of one node answer."""
    return Route(
        *("POST", "/", handler, dict.fromkeys((200, 400, 413, 503), ())),
        body="GrenacheCall",
        content_type="*/*",
    )
