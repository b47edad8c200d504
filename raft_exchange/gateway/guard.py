"""The one middleware: names each request, keeps strangers out, renders problems, counts.

Rules:
- A web page must not trade on somebody's localhost: a foreign `Origin`, or a `Host` that is not
  ours (DNS rebinding), is refused before the handler runs. The address at which we were reached is
  ours. Health, metrics and introductions carry nothing of value and are asked for by address, so
  any Host may.
- The pages of fellow members are ours too: a page whose node stopped goes on at another one.
- The seed routes are open to every origin where there are no keys: no accounts to lose. A socket
  under their paths is none of them: it calls Grenache services, which trade for any account.
- How fast they may is `rate_limits`': it is asked before the body is read.
- Who may do what is `access`'s: it is asked before the handler runs, and once more behind it.
- Every answer names its request and its trace; every error is a problem, whoever raised it.
- An exception that is not a `Problem` is a bug of ours: logged with its traceback, answered 500.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway import request_log
from raft_exchange.gateway.access import PRINCIPAL, admit, principal_of, still_good
from raft_exchange.gateway.bodies import BATCH_BYTES_MAX, too_large
from raft_exchange.gateway.context import (
    CONTEXT,
    FRONT,
    REQUEST_ID,
    Context,
    Front,
    RequestIds,
    Settings,
    has_seed_surface,
)
from raft_exchange.gateway.grenache import GRENACHE
from raft_exchange.gateway.origins import LOOPBACK_HOSTS, is_member_origin
from raft_exchange.gateway.rate_limits import LANES
from raft_exchange.gateway.rendering import problem_answer
from raft_exchange.gateway.tracing import TRACE, TRACERESPONSE, trace_of
from raft_exchange.metrics import UNKNOWN_ROUTE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SOCKET_PATH: Final = "/v1/ws"
ANY_HOST_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics", "/v1/node"})
STATELESS_PATHS: Final = ANY_HOST_PATHS | {"/v1/cluster", "/v1/cluster/drain"}
"""What a node answers whose state may differ from the others'."""
REQUEST_ID_CHARS_MAX: Final = 64
SERVER: Final = "raft-exchange"
EXPOSED_HEADERS: Final = (
    "X-Sequence, X-Age-Ms, X-Request-Id, Idempotent-Replay, Retry-After, RateLimit, "
    "RateLimit-Policy, traceresponse"
)
SEED_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
}
CORS_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Account, X-Deadline, "
        "X-Key-Id, X-Nonce, X-Request-Id, X-Signature, X-Timestamp, traceparent, tracestate"
    ),
    "Access-Control-Max-Age": "600",
}

CORS: Final = web.RequestKey("cors", dict[str, str])
STREAM_OPENED: Final = web.RequestKey("stream_opened", bool)

_logger = logging.getLogger(__name__)
_request_ids = RequestIds()


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request, whatever happens."""
    started_s = time.perf_counter()
    front = request.app[FRONT]
    in_flight = front.metrics.requests_in_flight
    in_flight.inc()
    request[REQUEST_ID] = request_id = _request_id(request)
    request[TRACE] = trace = trace_of(request)
    context = request.app.get(CONTEXT)
    cors: dict[str, str] = {}
    try:
        request[CORS] = cors = _admit(request, front)
        if context is not None:
            _refuse_divergent(request, context)
            if request.method != "OPTIONS":
                await admit(request, context)
                _charge(request, context)
        if request.method == "OPTIONS":
            response: web.StreamResponse = _preflight(request, cors)
        else:
            response = await (_socket_handler(request) or handler)(request)
            if context is not None and not response.prepared:  # a stream has told why it ended
                still_good(request, context)
    except Exception as error:
        response = problem_answer(_problem_of(error, request), request_id)
    finally:
        if STREAM_OPENED not in request:
            in_flight.dec()
    if response.status == HTTPStatus.SWITCHING_PROTOCOLS or STREAM_OPENED in request:
        return response  # its head is long gone, and how long it was open is no duration
    if context is not None and context.core.draining:
        response.force_close()  # the next request goes to a node that stays
    headers = response.headers
    headers["X-Request-Id"] = request_id
    headers[TRACERESPONSE] = trace.header
    headers["Server"] = SERVER
    if cors:
        headers.update(cors)
    headers.update(_standing(request, context))
    duration_s = time.perf_counter() - started_s
    front.metrics.observe_request(
        _route_of(request), request.method, status=response.status, duration_s=duration_s
    )
    request_log.note(request, response, duration_s=duration_s)
    return response


def _charge(request: web.Request, context: Context) -> None:
    lane = LANES.get((request.method, _route_of(request)))
    if lane is not None:
        who = principal_of(request)
        context.limits.charge(lane, who.account, who.key_id)


def _standing(request: web.Request, context: Context | None) -> dict[str, str]:
    """Return what tells whoever writes how their bucket stands."""
    lane, who = LANES.get((request.method, _route_of(request))), request.get(PRINCIPAL)
    if context is None or lane is None or who is None or not who.account:
        return {}
    return context.limits.headers(lane, who.account, who.key_id)


def _refuse_divergent(request: web.Request, context: Context) -> None:
    if not context.core.serves_state and request.path not in STATELESS_PATHS:
        raise Problem(
            ErrorCode.STATE_DIVERGENCE,
            "the state of this node differs, or is being checked; ask another node",
        )


def name_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Say whose answer this is, and to what: for those whose head leaves before `guard` ends."""
    response.headers["X-Request-Id"] = request[REQUEST_ID]
    response.headers[TRACERESPONSE] = request[TRACE].header
    response.headers["Server"] = SERVER


async def open_stream(request: web.Request, response: web.StreamResponse) -> None:
    """Send the head of an answer that may last for hours: from now on it counts as answered."""
    metrics, started_s = request.app[FRONT].metrics, time.perf_counter()
    name_answer(request, response)
    response.headers.update(request[CORS])
    await response.prepare(request)
    request[STREAM_OPENED] = True
    metrics.requests_in_flight.dec()
    metrics.observe_request(
        _route_of(request),
        request.method,
        status=response.status,
        duration_s=time.perf_counter() - started_s,
    )


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-Id")
    if given and len(given) <= REQUEST_ID_CHARS_MAX and given.isascii() and given.isprintable():
        return given
    return _request_ids.next()


def _asks_for_socket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _socket_handler(request: web.Request) -> Handler | None:
    """Return who takes a WebSocket: Grenache clients ask for one on any path but ours."""
    if not _asks_for_socket(request) or request.path == SOCKET_PATH:
        return None
    grenache = request.app.get(GRENACHE)
    return None if grenache is None else grenache.server.handle_websocket


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return UNKNOWN_ROUTE if resource is None else resource.canonical


def _admit(request: web.Request, front: Front) -> dict[str, str]:
    """Return the CORS headers of the answer.

    Raises:
        Problem: `bad_origin`.
    """
    settings = front.settings
    host = request.headers.get("Host", "")
    name = _host_name(host)
    if (
        name not in LOOPBACK_HOSTS
        and name not in settings.allowed_hosts
        and name != own_address(request)
        and request.path not in ANY_HOST_PATHS
    ):
        raise _bad_origin("Host", host)
    if _is_open_to_all(request, settings):
        return SEED_CORS
    origin = request.headers.get("Origin")
    if origin is None or _is_same(origin, host):
        return {}
    context = request.app.get(CONTEXT)
    is_fellow = context is not None and is_member_origin(context, origin)
    if origin not in settings.cors_origins and not is_fellow:
        raise _bad_origin("Origin", origin)
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        "Vary": "Origin",
    }


def own_address(request: web.Request) -> str:
    """Return the address of this node at which a request came in; empty if the client has gone."""
    transport = request.transport
    return str(transport.get_extra_info("sockname")[0]) if transport is not None else ""


def _host_name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _is_same(origin: str, host: str) -> bool:
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and rest.lower() == host.lower()


def _is_open_to_all(request: web.Request, settings: Settings) -> bool:
    """Say whether this is a call of a seed route that every web page may make."""
    path = request.path
    is_seed_path = path in ("/state", "/order", "/events") or path.startswith("/order/")
    is_open = has_seed_surface(settings) and not settings.auth_required
    return is_seed_path and is_open and not _asks_for_socket(request)


def _bad_origin(field: str, value: str) -> Problem:
    return Problem(
        ErrorCode.BAD_ORIGIN,
        f"this {field} is not one of this node's; the node's settings name those it takes",
        field=field,
        value=value,
    )


def _preflight(request: web.Request, cors: dict[str, str]) -> web.Response:
    headers = CORS_PREFLIGHT if cors and cors is not SEED_CORS else {}
    return web.Response(status=204, headers=headers)


def _problem_of(error: Exception, request: web.Request) -> Problem:
    match error:
        case Problem():
            return error
        case web.HTTPRequestEntityTooLarge():
            return too_large(BATCH_BYTES_MAX)
        case web.HTTPMethodNotAllowed():
            problem = Problem(
                ErrorCode.METHOD_NOT_ALLOWED,
                "this route does not take this method",
                field="method",
                value=request.method,
                allowed=sorted(error.allowed_methods),
            )
            problem.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            return problem
        case web.HTTPNotFound():
            return Problem(ErrorCode.UNKNOWN_ROUTE, "nothing is served under this path")
        case web.RequestPayloadError() | ConnectionError():
            return Problem(ErrorCode.BAD_JSON, "the body did not arrive whole")
    return internal_error(error, _route_of(request), request_log.names_of(request))


def internal_error(error: Exception, route: str, names: Mapping[str, str]) -> Problem:
    """Return the problem for what only a bug raises, and log it with the request's names."""
    _logger.error("bug while answering %s", route, exc_info=error, extra=names)
    return Problem(ErrorCode.INTERNAL_ERROR, "this is a bug of the node; its log has the details")


async def refuse_expectation(request: web.Request) -> web.StreamResponse | None:
    """Answer `Expect`: go on for 100-continue, refuse anything else."""
    expectation = request.headers.get("Expect", "")
    if expectation.lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None
    problem = Problem(
        ErrorCode.EXPECTATION_FAILED,
        "only 100-continue can be expected here",
        field="Expect",
        value=expectation,
        allowed=["100-continue"],
    )
    return problem_answer(problem, _request_id(request))
