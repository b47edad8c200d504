"""Reading the settings of a node; the only reader of the environment.

A setting is a flag, an environment variable `RAFT_EXCHANGE_<NAME>` and a key of the TOML file that
`--config` names, in that order of precedence. A wrong one stops the program with exit code 2 and a
sentence that names the key, where it came from, its value and what is allowed.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from raft_exchange.setting_values import is_loopback, whole
from raft_exchange.settings import OPTIONS, SECRET_BYTES_MAX, SECRET_BYTES_MIN, Option, Settings

ENVIRONMENT_PREFIX: Final = "RAFT_EXCHANGE_"
LIFELINE_VARIABLE: Final = ENVIRONMENT_PREFIX + "LIFELINE"
"""No setting: how `raft-exchange cluster` names its nodes' lifeline to them."""


CLIENT_URL_VARIABLE: Final = ENVIRONMENT_PREFIX + "URL"
CLIENT_KEY_VARIABLE: Final = ENVIRONMENT_PREFIX + "KEY"
CLIENT_CA_VARIABLE: Final = ENVIRONMENT_PREFIX + "CA_FILE"


class ConfigError(ValueError):
    """A setting is wrong; the message names key, source, value and what is allowed."""


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
    if (settings.tls_cert is None) != (settings.tls_key is None):
        missing = "tls_key" if settings.tls_key is None else "tls_cert"
        raise ConfigError(f"{missing}: missing; allowed: tls_cert and tls_key together, or neither")
    if (
        settings.auth == "open"
        and not settings.allow_open_network
        and not is_loopback(settings.host)
    ):
        raise ConfigError(
            f"host: {settings.host!r} lets everybody in the network trade without a key; allowed: "
            f"a loopback address, or {flag('allow_open_network')} on"
        )
    return settings


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


def client_ca() -> Path | None:
    """Return the file of the authority that the trading commands trust, None for the system's."""
    text = os.environ.get(CLIENT_CA_VARIABLE)
    return Path(text) if text else None
