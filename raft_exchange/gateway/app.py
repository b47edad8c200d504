"""How the table of routes is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.gateway import forming, openapi, operating, seed_events
from raft_exchange.gateway.bodies import BATCH_BYTES_MAX
from raft_exchange.gateway.cluster_routes import CLUSTER_ROUTES
from raft_exchange.gateway.context import (
    CONTEXT,
    FRONT,
    Context,
    Front,
    Introduce,
    Vouches,
    has_seed_surface,
)
from raft_exchange.gateway.figures import bounds_used, exchange_figures
from raft_exchange.gateway.grenache import GRENACHE, Grenache
from raft_exchange.gateway.guard import Handler, guard, refuse_expectation
from raft_exchange.gateway.routes import HISTORY_ROUTE, ROUTES, SEED_ROUTES, grenache_route
from raft_exchange.gateway.streams import STREAMS, Streams

Served = tuple[str, str, Handler]

OPERATIONS_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
METRICS_PATH: Final = "/metrics"


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
    app[operating.BACKUP] = asyncio.Lock()
    routes: tuple[openapi.Route, ...] = ROUTES
    if settings.metrics_moved:
        routes = tuple(route for route in routes if route.path != METRICS_PATH)
    if context.history is not None:
        routes += (HISTORY_ROUTE,)
    if has_seed_surface(settings):
        grenache = app[GRENACHE] = Grenache(context)
        app[seed_events.SEED_EVENTS] = seed_events.SeedEvents(context)
        app.on_shutdown.append(grenache.server.close)
        routes += (*SEED_ROUTES, grenache_route(grenache.server.handle_http))
    app[openapi.DOCUMENT] = msgspec.json.encode(openapi.document(routes))
    _add_routes(app, [(route.method, route.path, route.handler) for route in routes])
    metrics.watch_exchange(lambda: exchange_figures(marketdata))
    metrics.watch_streams(streams.figures)
    metrics.watch_limits(lambda: context.limits.refused)
    metrics.watch_bounds(lambda: bounds_used(marketdata, streams.figures()))
    metrics.watch_bounds(lambda: {"rate_limit_holders": context.limits.use})
    return app


def make_control_app(node: web.Application, *, host: str) -> web.Application:
    """Return what an operator on the machine of a node's application is served, who needs no key.

    `host` is what the operator calls the node.
    """
    context = node[CONTEXT]
    settings = msgspec.structs.replace(
        context.settings, auth_required=False, allowed_hosts=frozenset({host})
    )
    app = _app(msgspec.structs.replace(node[FRONT], settings=settings))
    app[CONTEXT] = msgspec.structs.replace(context, settings=settings)
    app[operating.BACKUP] = node[operating.BACKUP]
    _add_routes(app, [(route.method, route.path, route.handler) for route in CLUSTER_ROUTES])
    return app


def make_forming_app(
    front: Front, *, reason: Callable[[], str], is_operations: bool = False
) -> web.Application:
    """Return the application of a node that is in no group yet, and `reason` says why not."""
    app = _app(front)
    app[forming.WAITING] = forming.Waiting(reason)
    routes = forming.ROUTES
    if is_operations:
        routes = tuple(route for route in routes if route[1] in OPERATIONS_PATHS)
    elif front.settings.metrics_moved:
        routes = tuple(route for route in routes if route[1] != METRICS_PATH)
    _add_routes(app, routes)
    return app


def make_operations_app(context: Context, front: Front) -> web.Application:
    """Return the application of a member that answers operators' machines and nobody else."""
    app = _app(front)
    app[CONTEXT] = context
    routes = [route for route in ROUTES if route.path in OPERATIONS_PATHS]
    _add_routes(app, [(route.method, route.path, route.handler) for route in routes])
    return app


def make_grenache_app(main: web.Application) -> web.Application:
    """Return the application that takes the Grenache calls of `main`, and nothing else."""
    app = _app(main[FRONT])
    app[CONTEXT] = main[CONTEXT]
    grenache = app[GRENACHE] = main[GRENACHE]
    route = grenache_route(grenache.server.handle_http)
    _add_routes(app, [(route.method, route.path, route.handler)])
    return app


def _app(front: Front) -> web.Application:
    app = web.Application(middlewares=[guard], client_max_size=BATCH_BYTES_MAX)
    app[FRONT] = front
    return app


def _add_routes(app: web.Application, routes: Sequence[Served]) -> None:
    metrics = app[FRONT].metrics
    for method, path, handler in routes:
        if method == "GET":
            route = app.router.add_get(path, handler, expect_handler=refuse_expectation)
        else:
            route = app.router.add_route(method, path, handler, expect_handler=refuse_expectation)
        assert route.resource is not None
        metrics.declare_route(route.resource.canonical, method)
