"""Every setting of a node: unit, default, bound; the only reader of the environment.

A setting is a flag, an environment variable `RAFT_EXCHANGE_<NAME>` and a key of the TOML file that
`--config` names, in that order of precedence. A wrong one stops the program with exit code 2 and a
sentence that names the key, where it came from, its value and what is allowed.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from raft_exchange.matching.messages import MarketRules
from raft_exchange.raft.disk_reserve import (
    RESERVE_MIB_DEFAULT,
    RESERVE_MIB_MAX,
    RESERVE_MIB_MIN,
)
from raft_exchange.raft.members import MEMBERS_MAX, MemberAddress
from raft_exchange.setting_values import (
    FOUNDING_MAX,
    LOOPBACK_HOSTS,
    one_of,
    parse_host,
    parse_loopback,
    parse_markets,
    parse_members,
    parse_name,
    parse_on_off,
    parse_origins,
    parse_path,
    parse_port,
    parse_seconds,
    url_endpoint,
    whole,
)

ENVIRONMENT_PREFIX: Final = "RAFT_EXCHANGE_"
SECRET_BYTES_MIN: Final = 16
SECRET_BYTES_MAX: Final = 4096
LIFELINE_VARIABLE: Final = ENVIRONMENT_PREFIX + "LIFELINE"
"""No setting: how `raft-exchange cluster` names its nodes' lifeline to them."""


CLIENT_URL_VARIABLE: Final = ENVIRONMENT_PREFIX + "URL"
CLIENT_KEY_VARIABLE: Final = ENVIRONMENT_PREFIX + "KEY"


class ConfigError(ValueError):
    """A setting is wrong; the message names key, source, value and what is allowed."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One node's settings, checked."""

    node_id: str
    cluster: str
    members: tuple[MemberAddress, ...]
    data_dir: Path
    cluster_secret_file: Path
    host: str
    http_port: int
    raft_host: str
    raft_port: int
    pubsub_port: int
    durability: str
    snapshot_entries: int
    snapshot_mib: int
    disk_reserve_mib: int
    auth: str
    founding_markets: tuple[MarketRules, ...]
    seed_services: bool
    cors_origins: tuple[str, ...]
    drain_seconds: int
    log_level: str


class Option(msgspec.Struct, frozen=True):
    """One row of the table: how a setting is named, read, bounded and explained."""

    name: str
    parse: Callable[[str], Any]
    default: str | None  # None: must be given
    allowed: str
    help: str


SEED_SERVICES: Final = "serve the seed projects' HTTP routes, Grenache services and events as well"

OPTIONS: Final = (
    Option(
        "node_id", parse_name, None, "1-32 of A-Z a-z 0-9 . _ -", "this node's id among the members"
    ),
    Option("cluster", parse_name, "exchange", "1-32 of A-Z a-z 0-9 . _ -", "name of the cluster"),
    Option(
        "members",
        parse_members,
        None,
        f"1-{MEMBERS_MAX} of ID=RAFT_HOST:PORT=HTTP_URL, comma-separated, ids distinct",
        "every member of the group, this node included; the same list on every node",
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
        parse_loopback,
        "127.0.0.1",
        "a loopback address, as long as --auth open is the only mode",
        "where HTTP listens",
    ),
    Option("http_port", parse_port, "8081", "1-65535", "HTTP port"),
    Option("raft_host", parse_host, "127.0.0.1", "an IPv4 address or name", "where Raft listens"),
    Option("raft_port", parse_port, "7081", "1-65535", "Raft port"),
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
        "100000",
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
        "disk_reserve_mib",
        whole(RESERVE_MIB_MIN, RESERVE_MIB_MAX),
        str(RESERVE_MIB_DEFAULT),
        f"{RESERVE_MIB_MIN}-{RESERVE_MIB_MAX} MiB",
        "with less free disk the node is read-only: it takes cancels, but no new orders",
    ),
    Option("auth", one_of("open"), "open", "open", "open: no keys; everybody is `anonymous`"),
    Option(
        "founding_markets",
        parse_markets,
        "BTC-USD:0.01:0.00000001",
        f"up to {FOUNDING_MAX} of BASE-QUOTE:TICK:LOT, comma-separated, each market once, BASE not "
        "QUOTE; sizes above 0, up to 10, of up to 18 places",
        "markets that a new cluster opens by itself; the first is the seed surface's",
    ),
    Option("seed_services", parse_on_off, "on", "on | off", SEED_SERVICES),
    Option(
        "cors_origins",
        parse_origins,
        "",
        "http(s)://host[:port], comma-separated",
        "foreign web origins that may call this node",
    ),
    Option("drain_seconds", parse_seconds, "10", "1-600 seconds", "how long a stop may take"),
    Option(
        "log_level",
        one_of("debug", "info", "warning", "error"),
        "info",
        "debug | info | warning | error",
        "what is logged",
    ),
)


def flag(name: str) -> str:
    """Return the flag of a setting: `http_port` is `--http-port`."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` one flag for each setting, and `--config`."""
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file of settings, keys as here with _"
    )
    for option in OPTIONS:
        default = "required" if option.default is None else f"default {option.default or 'none'}"
        parser.add_argument(
            flag(option.name),
            metavar=option.name.rpartition("_")[2].upper(),
            help=f"{option.help} ({option.allowed}; {default})".replace("%", "%%"),
        )


def load(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the checked settings of flags, environment and file.

    Raises:
        ConfigError: a setting is missing, unknown or not allowed.
    """
    environment = os.environ if environment is None else environment
    path = arguments.config or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    table = _read_file(Path(path)) if path else {}
    values = {
        option.name: _value(option, arguments, environment, table, path) for option in OPTIONS
    }
    settings = Settings(**values)
    _check_own_member(settings)
    return settings


def _check_own_member(settings: Settings) -> None:
    own = next((member for member in settings.members if member.id == settings.node_id), None)
    if own is None:
        allowed = ", ".join(member.id for member in settings.members)
        raise ConfigError(f"node_id: {settings.node_id!r} is not among members; allowed: {allowed}")
    for setting, endpoint, host, port in (
        ("raft_port", own.raft_endpoint(), settings.raft_host, settings.raft_port),
        ("http_port", url_endpoint(own.http_url), settings.host, settings.http_port),
    ):
        # Another host is an address that is only advertised, and its port may be mapped.
        if _is_same_host(endpoint[0], host) and endpoint[1] != port:
            raise ConfigError(
                f"{setting}: {port}, but members gives {own.id} port {endpoint[1]} on this host; "
                "allowed: the same in both"
            )


def _is_same_host(one: str, other: str) -> bool:
    return one == other or {one, other} <= LOOPBACK_HOSTS


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"config: cannot read {str(path)!r}: {error}") from error
    unknown = sorted(table.keys() - {option.name for option in OPTIONS})
    if unknown:
        allowed = ", ".join(option.name for option in OPTIONS)
        raise ConfigError(f"{unknown[0]}: no such setting in {str(path)!r}; allowed: {allowed}")
    return table


def _value(
    option: Option,
    arguments: argparse.Namespace,
    environment: Mapping[str, str],
    table: Mapping[str, Any],
    path: str | None,
) -> Any:
    variable = ENVIRONMENT_PREFIX + option.name.upper()
    given = getattr(arguments, option.name)
    if given is not None:
        text, source = given, flag(option.name)
    elif variable in environment:
        text, source = environment[variable], variable
    elif option.name in table:
        raw = table[option.name]
        text = {True: "on", False: "off"}.get(raw, str(raw)) if isinstance(raw, bool) else str(raw)
        source = f"file {path}"
    elif option.default is not None:
        text, source = option.default, "default"
    else:
        raise ConfigError(
            f"{option.name}: missing; give {flag(option.name)} or {variable}; "
            f"allowed: {option.allowed}"
        )
    try:
        return option.parse(text)
    except ValueError:
        raise ConfigError(
            f"{option.name}: {text!r} (from {source}) is not allowed; allowed: {option.allowed}"
        ) from None


def read_secret(path: Path) -> bytes:
    """Return the cluster secret: the file's bytes without surrounding white space.

    Raises:
        ConfigError: unreadable, too short or too long.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cluster_secret_file: cannot read {str(path)!r}: {error}") from error
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise ConfigError(
            f"cluster_secret_file: {str(path)!r} holds {len(secret)} bytes; "
            f"allowed: {SECRET_BYTES_MIN}-{SECRET_BYTES_MAX}, the same as on every other member"
        )
    return secret


def node_arguments(settings: Mapping[str, object]) -> Sequence[str]:
    """Return the flags that give a child process these settings."""
    return [part for name, value in settings.items() for part in (flag(name), str(value))]


def lifeline(environment: Mapping[str, str] | None = None) -> int | None:
    """Return the descriptor of a pipe whose end means that this process must stop; None without.

    Whoever started the node holds the other end, so that even a kill -9 of it closes the pipe.

    Raises:
        ConfigError: not an open descriptor.
    """
    text = (os.environ if environment is None else environment).get(LIFELINE_VARIABLE)
    if text is None:
        return None
    try:
        descriptor = whole(0, 2**20)(text)
        os.fstat(descriptor)
    except (ValueError, OSError):
        raise ConfigError(
            f"{LIFELINE_VARIABLE}: {text!r} is no open descriptor; unset it"
        ) from None
    return descriptor


def node_environment(lifeline: int) -> dict[str, str]:
    """Return the environment of a child process that is to stop when `lifeline` ends."""
    return {**os.environ, LIFELINE_VARIABLE: str(lifeline)}


def client_url() -> str | None:
    """Return where the trading commands find the cluster, None if the environment does not say."""
    return os.environ.get(CLIENT_URL_VARIABLE)


def client_key() -> str | None:
    """Return the API key of the trading commands, None if the environment has none."""
    return os.environ.get(CLIENT_KEY_VARIABLE)
