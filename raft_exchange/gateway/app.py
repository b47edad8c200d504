"""The route table, and how it is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.gateway import (
    accounts,
    asyncapi,
    cluster,
    compound_orders,
    forming,
    health,
    introduction,
    markets,
    members,
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
from raft_exchange.gateway.bodies import BATCH_BYTES_MAX
from raft_exchange.gateway.context import (
    CONTEXT,
    FRONT,
    Context,
    Front,
    Introduce,
    Vouches,
    has_seed_surface,
)
from raft_exchange.gateway.figures import exchange_figures
from raft_exchange.gateway.grenache import GRENACHE, Grenache
from raft_exchange.gateway.guard import Handler, guard, refuse_expectation
from raft_exchange.gateway.streams import STREAMS, Streams
from raft_exchange.history.backfill import PATH as HISTORY_PATH

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/v1/orders", orders.post_order),
    ("POST", "/v1/orders/batch", orders.post_batch),
    ("POST", "/v1/orders/oco", compound_orders.post_oco),
    ("POST", "/v1/orders/{order_id}/replace", compound_orders.post_replace),
    ("POST", "/v1/cancel-after", compound_orders.post_cancel_after),
    ("PATCH", "/v1/orders/{order_id}", orders.patch_order),
    ("DELETE", "/v1/orders/{order_id}", orders.delete_order),
    ("DELETE", "/v1/orders/by-client-id/{client_order_id:.+}", orders.delete_by_client_id),
    ("DELETE", "/v1/orders", orders.delete_orders),
    ("GET", "/v1/orders", order_queries.get_orders),
    ("GET", "/v1/orders/{order_id}", order_queries.get_order),
    ("GET", "/v1/account", accounts.get_own_account),
    ("GET", "/v1/fills", accounts.get_fills),
    ("POST", "/v1/accounts", accounts.post_account),
    ("GET", "/v1/accounts/{account}", accounts.get_account),
    ("PATCH", "/v1/accounts/{account}", accounts.patch_account),
    ("POST", "/v1/accounts/{account}/deposits", accounts.post_deposit),
    ("POST", "/v1/accounts/{account}/withdrawals", accounts.post_withdrawal),
    ("GET", "/v1/accounts/{account}/keys", accounts.get_keys),
    ("POST", "/v1/accounts/{account}/keys", accounts.post_key),
    ("DELETE", "/v1/accounts/{account}/keys/{key_id}", accounts.delete_key),
    ("GET", "/v1/markets", markets.get_markets),
    ("POST", "/v1/markets", markets.post_market),
    ("GET", "/v1/markets/{market}", markets.get_market),
    ("PATCH", "/v1/markets/{market}", markets.patch_market),
    ("GET", "/v1/markets/{market}/book", markets.get_book),
    ("GET", "/v1/markets/{market}/trades", markets.get_trades),
    ("GET", "/v1/markets/{market}/ticker", prices.get_ticker),
    ("GET", "/v1/markets/{market}/candles", prices.get_candles),
    ("GET", "/v1/stream", stream.get_stream),
    ("GET", "/v1/ws", websocket.get_websocket),
    ("GET", "/v1/time", markets.get_time),
    ("GET", "/v1/cluster", cluster.get_cluster),
    ("POST", "/v1/cluster/snapshot", cluster.post_snapshot),
    ("POST", members.PATH, members.post_member),
    ("DELETE", members.PATH + "/{member}", members.delete_member),
    ("GET", "/v1/node", introduction.get_node),
    ("GET", "/", page.get_page),
    ("GET", "/index.html", page.get_page),
    ("GET", "/web/{digest}/{file:.+}", page.get_file),
    ("GET", "/asyncapi.json", asyncapi.get_asyncapi),
    ("GET", "/livez", health.get_livez),
    ("GET", "/readyz", health.get_readyz),
    ("GET", "/metrics", health.get_metrics),
)
SEED_ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/state", seed_surface.get_state),
    ("GET", "/events", seed_events.get_events),
    ("POST", "/order", seed_surface.post_order),
    ("DELETE", "/order/{order_id}", seed_surface.delete_order),
)


def make_app(
    context: Context, introduce: Introduce, streams: Streams, vouches: Vouches | None = None
) -> web.Application:
    """Return the application of one node; the caller feeds `context.marketdata` and `streams`.

    The seed surface needs a default market, and is left out where there is none.
    """
    metrics, marketdata, settings = context.metrics, context.marketdata, context.settings
    front = Front(metrics, settings, introduce)
    app = _app(front if vouches is None else msgspec.structs.replace(front, vouches=vouches))
    app[CONTEXT] = context
    app[STREAMS] = streams
    routes = ROUTES
    if context.history is not None:
        routes += (("GET", HISTORY_PATH, past.get_history),)
    if has_seed_surface(settings):
        grenache = app[GRENACHE] = Grenache(context)
        app[seed_events.SEED_EVENTS] = seed_events.SeedEvents(context)
        app.on_shutdown.append(grenache.server.close)
        routes += (*SEED_ROUTES, ("POST", "/", grenache.server.handle_http))
    _add_routes(app, routes)
    metrics.watch_exchange(lambda: exchange_figures(marketdata))
    metrics.watch_streams(streams.figures)
    return app


def make_forming_app(front: Front, *, reason: Callable[[], str]) -> web.Application:
    """Return the application of a node that is in no group yet, and `reason` says why not."""
    app = _app(front)
    app[forming.WAITING] = forming.Waiting(reason)
    _add_routes(app, forming.ROUTES)
    return app


def _app(front: Front) -> web.Application:
    app = web.Application(middlewares=[guard], client_max_size=BATCH_BYTES_MAX)
    app[FRONT] = front
    return app


def _add_routes(app: web.Application, routes: Sequence[tuple[str, str, Handler]]) -> None:
    metrics = app[FRONT].metrics
    for method, path, handler in routes:
        if method == "GET":
            route = app.router.add_get(path, handler, expect_handler=refuse_expectation)
        else:
            route = app.router.add_route(method, path, handler, expect_handler=refuse_expectation)
        assert route.resource is not None
        declared = ["GET", "HEAD"] if method == "GET" else [method]
        metrics.declare_route(route.resource.canonical, [*declared, "OPTIONS"])
