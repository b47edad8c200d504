"""Which pages may call this node: its own, those of its fellow members, and configured ones."""

from __future__ import annotations

import re
from typing import Final

from raft_exchange.gateway.context import Context

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ORIGIN: Final = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def member_origins(context: Context) -> list[str]:
    """Return the web origins of the cluster's members, without those that are no plain origin."""
    urls = [member.http_url for member in context.core.status().members]
    return [url for url in urls if _ORIGIN.fullmatch(url)]


def is_member_origin(context: Context, origin: str) -> bool:
    """Say whether a page comes from a member; the names of the loopback are one."""
    wanted = _canonical(origin)
    return wanted is not None and any(_canonical(o) == wanted for o in member_origins(context))


def socket_origin(origin: str) -> str:
    """Return where the WebSockets of an origin are."""
    return "ws" + origin.removeprefix("http")


def _canonical(origin: str) -> str | None:
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return None
    scheme, host, port = found.groups()
    default_port = ":443" if scheme == "https" else ":80"
    name = "127.0.0.1" if host.lower() in LOOPBACK_HOSTS else host.lower()
    return f"{scheme}://{name}{port or default_port}"
