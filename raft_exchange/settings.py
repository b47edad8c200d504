"""The table of a node's settings: name, unit, default, bound, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from raft_exchange.matching.messages import MarketRules
from raft_exchange.raft.disk_reserve import (
    RESERVE_MIB_DEFAULT,
    RESERVE_MIB_MAX,
    RESERVE_MIB_MIN,
)
from raft_exchange.raft.members import MEMBERS_MAX
from raft_exchange.setting_values import (
    BOOTSTRAP_MAX,
    FOUNDING_MAX,
    HOSTS_MAX,
    NAME_FORM,
    one_of,
    parse_address,
    parse_bootstrap,
    parse_host,
    parse_hosts,
    parse_ipv4,
    parse_markets,
    parse_name,
    parse_on_off,
    parse_optional_path,
    parse_optional_port,
    parse_origins,
    parse_path,
    parse_port,
    parse_postgres_url,
    parse_rate,
    parse_seconds,
    parse_url,
    whole,
)

SECRET_BYTES_MIN: Final = 16
SECRET_BYTES_MAX: Final = 4096


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One node's settings, checked."""

    name: str
    cluster: str
    expect: int
    bootstrap: tuple[str, ...]
    data_dir: Path
    cluster_secret_file: Path
    host: str
    http_port: int
    advertise_http_url: str
    allowed_hosts: tuple[str, ...]
    tls_cert: Path | None
    tls_key: Path | None
    tls_ca: Path | None
    metrics_port: int
    grenache_port: int
    raft_host: str
    raft_port: int
    advertise_raft_address: str
    dht_host: str
    dht_port: int
    dht_peer_age_seconds: int
    grape_http_host: str
    grape_http_port: int
    pubsub_port: int
    durability: str
    snapshot_entries: int
    snapshot_mib: int
    archive_dir: Path | None
    disk_reserve_mib: int
    history: bool
    history_days: int
    history_url: str
    auth: str
    admin_key_file: Path | None
    require_signed_orders: bool
    allow_open_network: bool
    order_rate: int | None
    order_burst: int
    founding_markets: tuple[MarketRules, ...]
    accounts: bool
    seed_services: bool
    cors_origins: tuple[str, ...]
    drain_seconds: int
    rejoin_when_removed: bool
    log_level: str
    log_format: str

    @property
    def orders_per_s_max(self) -> int:
        """What `order_rate` says, or by default; 0 for no limit."""
        if self.order_rate is not None:
            return self.order_rate
        return ORDER_RATE_DEFAULT if self.auth == "required" else 0


class Option(msgspec.Struct, frozen=True):
    """One row of the table: how a setting is named, read, bounded and explained."""

    name: str
    parse: Callable[[str], Any]
    default: str | None  # None: must be given
    allowed: str
    help: str


ACCOUNTS: Final = (
    "back the orders of founding markets with balances, and of markets opened through this node "
    "unless their opener says otherwise; the same on every node"
)
SIGNED_ORDERS: Final = (
    "take only what its owner signed to place, change or cancel orders; a market that is opened "
    "through this node has every node do so, unless its opener says otherwise, and so have the "
    "founding markets"
)
SEED_SERVICES: Final = "serve the seed projects' HTTP routes, Grenache services and events as well"

REJOIN: Final = (
    "a node that finds at its start that it was removed sets its data aside, in the folder `aside` "
    "of data_dir, and joins as another node"
)

ORDER_RATE_DEFAULT: Final = 1_000
ORDER_RATE: Final = (
    "how fast a key may send orders to this node, or an account where there are no keys; four "
    f"times as many cancels. By default {ORDER_RATE_DEFAULT} with --auth required, else 0, since "
    "anybody can take another name then"
)

ADMIN_KEY: Final = (
    "the first key of a cluster that has none for operators; later ones are made with it, and then "
    "it is replaced over HTTP as any other"
)
KEY_FILE: Final = "a file with 32-256 printable ASCII characters; the same on every node"

HOST_NAMES: Final = f"up to {HOSTS_MAX} host names or IPv4 addresses, comma-separated"
ALLOWED_HOSTS: Final = (
    "under which clients may ask for this node besides its own addresses: those of a proxy or a "
    "Service in front; others are refused, since a page of a foreign site could be behind them"
)
PEM_CERT: Final = "a PEM file: the certificate, then those up to its authority; SIGHUP reloads it"
PEM_KEY: Final = "a PEM file, not encrypted; SIGHUP reloads it"
PEM_CA: Final = "a PEM file of one or more certificates"
TLS_CA: Final = (
    "the authority of the other nodes' certificates; without one they are taken as they come, "
    "since nodes prove the cluster secret to each other"
)
METRICS_PORT: Final = (
    "where /metrics is served, in plain HTTP beside health, in place of http_port; none by default"
)
GRENACHE_PORT: Final = (
    "where Grenache calls are taken in plain HTTP as well, and announced: for stock clients, which "
    "speak no TLS; none by default"
)

OPTIONS: Final = (
    Option("name", parse_name, None, NAME_FORM, "this node's name, for people"),
    Option("cluster", parse_name, "exchange", NAME_FORM, "name of the cluster"),
    Option(
        "expect",
        whole(1, MEMBERS_MAX),
        "3",
        f"1-{MEMBERS_MAX} nodes",
        "a new cluster is founded by so many nodes that found each other; the same on each of "
        "them, and without effect once there is a cluster",
    ),
    Option(
        "bootstrap",
        parse_bootstrap,
        "",
        f"up to {BOOTSTRAP_MAX} of HOST:PORT, comma-separated; IPv4 only",
        "DHT addresses of one or two nodes through which the others are found; a name stands for "
        "all its addresses, and this node itself may be among them",
    ),
    Option("data_dir", parse_path, None, "a folder of this node alone", "where the log is kept"),
    Option(
        "cluster_secret_file",
        parse_path,
        None,
        f"a file of {SECRET_BYTES_MIN}-{SECRET_BYTES_MAX} bytes",
        "what the members prove to each other; the same on every node",
    ),
    Option(
        "host",
        parse_host,
        "127.0.0.1",
        "an IPv4 address or name; with --auth open one of this machine alone, unless "
        "--allow-open-network is on",
        "where HTTP and pub/sub listen",
    ),
    Option("http_port", parse_port, "8081", "1-65535", "HTTP port"),
    Option(
        "advertise_http_url",
        parse_url,
        "",
        "http(s)://HOST[:PORT]",
        "where others reach this node's HTTP, if not at host and http_port",
    ),
    Option("allowed_hosts", parse_hosts, "", HOST_NAMES, ALLOWED_HOSTS),
    Option("tls_cert", parse_optional_path, "", PEM_CERT, "serve HTTP with TLS; needs tls_key"),
    Option("tls_key", parse_optional_path, "", PEM_KEY, "the key of tls_cert"),
    Option("tls_ca", parse_optional_path, "", PEM_CA, TLS_CA),
    Option("metrics_port", parse_optional_port, "", "1-65535", METRICS_PORT),
    Option("grenache_port", parse_optional_port, "", "1-65535", GRENACHE_PORT),
    Option("raft_host", parse_host, "127.0.0.1", "an IPv4 address or name", "where Raft listens"),
    Option("raft_port", parse_port, "7081", "1-65535", "Raft port"),
    Option(
        "advertise_raft_address",
        parse_address,
        "",
        "HOST:PORT",
        "where others reach this node's Raft port, if not at raft_host and raft_port",
    ),
    Option("dht_host", parse_ipv4, "127.0.0.1", "an IPv4 address", "where the DHT listens"),
    Option("dht_port", parse_port, "20001", "1-65535", "UDP port of the DHT"),
    Option(
        "dht_peer_age_seconds",
        whole(6, 3_600),
        "120",
        "6-3600 seconds; the same on every node",
        "announcements not renewed for so long are forgotten; they are renewed six times as often",
    ),
    Option(
        "grape_http_host",
        parse_ipv4,
        "127.0.0.1",
        "an IPv4 address",
        "where the grape's HTTP API for Grenache clients listens",
    ),
    Option("grape_http_port", parse_port, "30001", "1-65535", "port of the grape's HTTP API"),
    Option(
        "pubsub_port",
        parse_port,
        "8181",
        "1-65535",
        "where Grenache subscribers get order and trade events; of the seed services, beside HTTP",
    ),
    Option(
        "durability",
        one_of("fsync", "os"),
        "fsync",
        "fsync | os",
        "fsync: acknowledged means on stable storage of a majority; os: in its page cache, "
        "which survives kill -9 but not a power cut",
    ),
    Option(
        "snapshot_entries",
        whole(10, 10_000_000),
        "50000",
        "10-10000000 log entries",
        "a snapshot is written and the log shortened after so many entries",
    ),
    Option(
        "snapshot_mib",
        whole(1, 4_096),
        "128",
        "1-4096 MiB",
        "a snapshot is written and the log shortened after so many MiB of log",
    ),
    Option(
        "archive_dir",
        parse_optional_path,
        "",
        "a folder, best on a disk of its own; this node makes one in it by its id",
        "entries are put there before the log forgets them, and never removed; none by default",
    ),
    Option(
        "disk_reserve_mib",
        whole(RESERVE_MIB_MIN, RESERVE_MIB_MAX),
        str(RESERVE_MIB_DEFAULT),
        f"{RESERVE_MIB_MIN}-{RESERVE_MIB_MAX} MiB",
        "with less free disk the node is read-only: it takes cancels, but no new orders",
    ),
    Option(
        "history",
        parse_on_off,
        "on",
        "on | off",
        "keep trades and finished orders beyond memory in a file of data_dir",
    ),
    Option(
        "history_days",
        whole(0, 36_500),
        "0",
        "0-36500 days",
        "how long history is kept in the file; 0: for ever",
    ),
    Option(
        "history_url",
        parse_postgres_url,
        "",
        "postgresql://…",
        "a PostgreSQL database that the leader copies history to",
    ),
    Option(
        "auth",
        one_of("required", "open"),
        "required",
        "required | open",
        "required: who trades or operates shows a key; open: no keys, everybody is `anonymous` or "
        "whom they name",
    ),
    Option("admin_key_file", parse_optional_path, "", KEY_FILE, ADMIN_KEY),
    Option("require_signed_orders", parse_on_off, "off", "on | off", SIGNED_ORDERS),
    Option(
        "allow_open_network",
        parse_on_off,
        "off",
        "on | off",
        "with --auth open, listen beyond this machine: whoever reaches the port may trade",
    ),
    Option("order_rate", parse_rate, "", "0-1000000 orders a second; 0: no limit", ORDER_RATE),
    Option(
        "order_burst",
        whole(1, 10_000_000),
        "2000",
        "1-10000000 orders",
        "how many orders a key may send at once after a pause; four times as many cancels",
    ),
    Option(
        "founding_markets",
        parse_markets,
        "BTC-USD:0.01:0.00000001",
        f"up to {FOUNDING_MAX} of BASE-QUOTE:TICK:LOT, comma-separated, each market once, BASE not "
        "QUOTE; sizes above 0, up to 10, of up to 18 places",
        "markets that a new cluster opens by itself; the first is the seed surface's",
    ),
    Option("accounts", parse_on_off, "off", "on | off", ACCOUNTS),
    Option("seed_services", parse_on_off, "on", "on | off", SEED_SERVICES),
    Option(
        "cors_origins",
        parse_origins,
        "",
        "http(s)://host[:port], comma-separated",
        "foreign web origins that may call this node",
    ),
    Option("drain_seconds", parse_seconds, "10", "1-600 seconds", "how long a stop may take"),
    Option("rejoin_when_removed", parse_on_off, "off", "on | off", REJOIN),
    Option(
        "log_level",
        one_of("debug", "info", "warning", "error"),
        "info",
        "debug | info | warning | error",
        "what is logged",
    ),
    Option(
        "log_format", one_of("text", "json"), "text", "text | json", "lines for people or programs"
    ),
)
