"""How the trading commands reach a cluster, and how they end.

A command that fails says why on standard error and exits with 1; 2 is for wrong usage. With
`--json` the result is JSON on standard output, decimals as text, and an error is JSON as well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from raft_exchange import config
from raft_exchange.client import (
    ExchangeClientSync,
    ExchangeError,
    OutcomeUnknown,
    RequestRefused,
    WriteKey,
)
from raft_exchange.client.headers import check_header
from raft_exchange.control import HOST as CONTROL_HOST
from raft_exchange.control import SOCKET_FILE

DEFAULT_URLS: Final = "http://127.0.0.1:8081,http://127.0.0.1:8082,http://127.0.0.1:8083"
DEFAULT_MARKET: Final = "BTC-USD"
PATIENCE_S_MAX: Final = 300.0
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

T = TypeVar("T")


class UsageError(Exception):
    """The command line or the environment is wrong; the message names what."""


def add_connection(parser: argparse.ArgumentParser, *, operates: bool = False) -> None:
    """Give a command the flags that say where the cluster is and who asks.

    What operates a node may be said through its control socket as well.
    """
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--url",
        metavar="URLS",
        help="base URLs of nodes, comma-separated, tried in turn "
        f"({config.CLIENT_URL_VARIABLE}; default {DEFAULT_URLS})",
    )
    if operates:
        group.add_argument(
            "--socket",
            type=Path,
            metavar="DIR",
            help="data folder of the node on this machine to ask, without a key, instead of --url",
        )
    add_access(group)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_access(group: argparse._ActionsContainer) -> None:
    """Give a command the flags that say who asks, and how patiently."""
    group.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the API key (or the key itself in {config.CLIENT_KEY_VARIABLE})",
    )
    group.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="PEM file of the authority that signed the nodes' certificates "
        f"({config.CLIENT_CA_VARIABLE}; default the system's)",
    )
    group.add_argument(
        "--signing-key",
        type=Path,
        metavar="FILE",
        help="sign each request with this Ed25519 key (PEM) instead of showing an API key",
    )
    group.add_argument("--key-id", metavar="ID", help="the id by which the exchange knows it")
    group.add_argument(
        "--account", metavar="NAME", help="trade as this account, where there are no keys"
    )
    group.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="S", help="how long to try, 0.1-300 (10)"
    )


def add_market(parser: argparse.ArgumentParser) -> None:
    """Give a command the flag that names a market."""
    parser.add_argument(
        "--market", "-m", default=DEFAULT_MARKET, metavar="NAME", help=f"({DEFAULT_MARKET})"
    )


def add_repetition(parser: argparse.ArgumentParser) -> None:
    """Give a writing command the flags under which an earlier attempt is asked for."""
    group = parser.add_argument_group("asking again after an unknown outcome")
    group.add_argument("--repeat", metavar="KEY", help="the key that the earlier attempt named")
    group.add_argument("--until", type=moment, metavar="TIME", help="its deadline")


def moment(text: str) -> datetime:
    """Return a time in UTC; one without a zone is this machine's.

    Raises:
        argparse.ArgumentTypeError: it is no time, or in no year from 1 to 9999 there.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        allowed = "an RFC 3339 time, as 2030-01-31T12:00:00Z"
        raise argparse.ArgumentTypeError(f"{text!r}: allowed {allowed}") from None


def write_key(arguments: argparse.Namespace) -> WriteKey:
    """Return the key of this command's write: a new one, or that of an earlier attempt.

    Raises:
        UsageError: only one half of it was given, or what no header can hold.
    """
    if (arguments.repeat is None) != (arguments.until is None):
        raise UsageError("--repeat and --until go together")
    if arguments.repeat is None:
        return WriteKey.new()
    try:
        return WriteKey(arguments.repeat, arguments.until)
    except ValueError as error:
        raise UsageError(f"--repeat: {error}") from error


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= PATIENCE_S_MAX:
        raise argparse.ArgumentTypeError(f"{text}: allowed 0.1-{PATIENCE_S_MAX:g}")
    return seconds


def urls_of(arguments: argparse.Namespace) -> list[str]:
    """Return the URLs of the nodes to try."""
    text = arguments.url or config.client_url() or DEFAULT_URLS
    return [url for url in text.split(",") if url]


def key_of(arguments: argparse.Namespace) -> str | None:
    """Return the API key, None without one.

    Raises:
        UsageError: the file cannot be read, or holds what no header can.
    """
    if arguments.key_file is None:
        return config.client_key() if arguments.signing_key is None else None
    path: Path = arguments.key_file
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--key-file: cannot read {str(path)!r}: {error}") from error
    try:
        check_header(f"--key-file {str(path)!r}", key, is_secret=True)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return key


def ca_of(arguments: argparse.Namespace) -> Path | None:
    """Return the file of the authority that is trusted, None for the system's authorities."""
    named: Path | None = arguments.ca_file
    return named or config.client_ca()


def connect(
    arguments: argparse.Namespace,
    urls: Sequence[str] | None = None,
    *,
    patience_s: float | None = None,
) -> ExchangeClientSync:
    """Return a client of the nodes that the flags name, or of `urls`, to be closed.

    Raises:
        UsageError, ValueError: the flags are wrong; the message names which.
    """
    folder: Path | None = getattr(arguments, "socket", None)
    socket = None
    if folder is not None:
        if urls is not None or arguments.url is not None:
            raise UsageError("--socket asks the node of that folder; leave out other nodes")
        urls, socket = [f"http://{CONTROL_HOST}"], _control_socket(folder)
    return ExchangeClientSync(
        urls_of(arguments) if urls is None else urls,
        key=key_of(arguments),
        signing_key=arguments.signing_key,
        key_id=arguments.key_id,
        account=arguments.account,
        ca=ca_of(arguments),
        patience_s=arguments.timeout if patience_s is None else patience_s,
        socket=socket,
    )


def _control_socket(folder: Path) -> str:
    """Return a short name of a folder's control socket: those of sockets are bounded."""
    if not (folder / SOCKET_FILE).is_socket():
        raise UsageError(f"--socket: there is no {SOCKET_FILE} in {folder}; does the node run?")
    return f"/proc/self/fd/{os.open(folder, os.O_PATH)}/{SOCKET_FILE}"


def ask(
    arguments: argparse.Namespace,
    work: Callable[[ExchangeClientSync], T],
    show: Callable[[T], None],
) -> int:
    """Do `work` with a client and show its result; return the exit code."""
    try:
        client = connect(arguments)
    except (UsageError, ValueError) as error:
        return fail(arguments, str(error), exit_code=EXIT_USAGE)
    with client:
        try:
            result = work(client)
        except UsageError as error:
            return fail(arguments, str(error), exit_code=EXIT_USAGE)
        except ExchangeError as error:
            return tell(arguments, error)
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
        sys.stdout.flush()
    else:
        show(result)
    return EXIT_OK


def tell(arguments: argparse.Namespace, error: ExchangeError) -> int:
    """Say what came of a request that gave no result."""
    if isinstance(error, RequestRefused):
        return fail(arguments, f"refused: {error}", code=error.code)
    if isinstance(error, OutcomeUnknown):
        text = "unknown whether it took effect: the same command "
        if "repeat" in arguments:
            again = f"--repeat {error.key.name} --until {error.key.deadline.isoformat()}"
            text += f"with {again} finds out"
        else:
            text += "again does no harm"
        return fail(arguments, text, code="outcome_unknown")
    return fail(arguments, f"no node answered: {error}", code="unavailable")


def fail(
    arguments: argparse.Namespace,
    text: str,
    *,
    code: str = "usage",
    exit_code: int = EXIT_FAILED,
) -> int:
    """Say what went wrong and return the exit code."""
    if arguments.json:
        told = msgspec.json.encode({"error": {"code": code, "detail": text}}).decode()
    else:
        told = f"raft-exchange: {text}"
    print(told, file=sys.stderr)
    return exit_code
