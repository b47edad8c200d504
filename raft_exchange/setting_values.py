"""The values of settings: from their text to what the program works with, bounded.

Each parser takes the text that was given, from wherever, and raises `ValueError` for what is not
allowed; `config.OPTIONS` says in words what is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from raft_exchange.founding import founding_rules
from raft_exchange.matching.filters import refuse_rules
from raft_exchange.matching.limits import SIZE_E18_MAX
from raft_exchange.matching.messages import MarketRules

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
DECIMAL_PATTERN: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,18})?")
NAME_FORM: Final = "1-32 of A-Z a-z 0-9 . _ -"
FOUNDING_MAX: Final = 100
HOSTS_MAX: Final = 32
BOOTSTRAP_MAX: Final = 8


def parse_name(text: str) -> str:
    """Return the name of a node or cluster."""
    if not NAME_PATTERN.fullmatch(text):
        raise ValueError
    return text


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers between two bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and low <= int(text) <= high):
            raise ValueError
        return int(text)

    return parse


parse_port: Final = whole(1, 65_535)
parse_seconds: Final = whole(1, 600)


def parse_optional_port(text: str) -> int:
    """Return a port, 0 for none."""
    return parse_port(text) if text else 0


def parse_rate(text: str) -> int | None:
    """Return a rate, None for none given."""
    return whole(0, 1_000_000)(text) if text else None


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser of a closed list."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse


def parse_on_off(text: str) -> bool:
    """Return whether a switch is on."""
    return one_of("on", "off")(text) == "on"


def parse_host(text: str) -> str:
    """Return a host name or an IPv4 address."""
    if not text or len(text) > 253 or not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError
    return text


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the host names of a list, in lower case."""
    hosts = tuple(parse_host(host).lower() for host in filter(None, text.split(",")))
    if len(hosts) > HOSTS_MAX:
        raise ValueError
    return hosts


def parse_ipv4(text: str) -> str:
    """Return an IPv4 address."""
    return str(IPv4Address(text))


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine alone: a name for it, or an address in 127.0.0.0/8."""
    try:
        return host in LOOPBACK_HOSTS or IPv4Address(host).is_loopback
    except ValueError:
        return False


def parse_path(text: str) -> Path:
    """Return a path that a file can have."""
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def parse_optional_path(text: str) -> Path | None:
    """Return a path that a file can have, or None for none."""
    return parse_path(text) if text else None


def parse_address(text: str) -> str:
    """Return `HOST:PORT`, or nothing for none; HOST is an IPv4 address or a name."""
    if text:
        host, _, port = text.rpartition(":")
        parse_host(host)
        parse_port(port)
    return text


def parse_bootstrap(text: str) -> tuple[str, ...]:
    """Return the addresses of a list."""
    addresses = tuple(parse_address(item) for item in filter(None, text.split(",")))
    if len(addresses) > BOOTSTRAP_MAX:
        raise ValueError
    return addresses


def parse_url(text: str) -> str:
    """Return a base URL without a path, or nothing for none."""
    if text and not re.fullmatch(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?", text):
        raise ValueError
    if text and not url_endpoint(text)[1] > 0:
        raise ValueError
    return text


def url_endpoint(url: str) -> tuple[str, int]:
    """Return host ("" for none) and port of a URL; without one it is the scheme's."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]


def parse_markets(text: str) -> tuple[MarketRules, ...]:
    """Return the rules of `BASE-QUOTE:TICK:LOT,...`, as the exchange would take them."""
    markets = []
    for item in filter(None, text.split(",")):
        market, tick_size, lot_size = item.split(":")
        rules = founding_rules(
            market, tick_size_e18=_size_e18(tick_size), lot_size_e18=_size_e18(lot_size)
        )
        if refuse_rules(rules) is not None:
            raise ValueError
        markets.append(rules)
    if len({rules.market for rules in markets}) < len(markets) or len(markets) > FOUNDING_MAX:
        raise ValueError
    return tuple(markets)


def _size_e18(text: str) -> int:
    if not DECIMAL_PATTERN.fullmatch(text):
        raise ValueError
    units, _, fraction = text.partition(".")
    size_e18 = int(units + fraction.ljust(18, "0"))
    if not 0 < size_e18 <= SIZE_E18_MAX:
        raise ValueError
    return size_e18


def parse_origins(text: str) -> tuple[str, ...]:
    """Return the web origins of a list."""
    origins = tuple(filter(None, text.split(",")))
    if not all(re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin) for origin in origins):
        raise ValueError
    return origins


def parse_postgres_url(text: str) -> str:
    """Return the URL of a PostgreSQL database, "" for none."""
    if text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError(text)
    return text
