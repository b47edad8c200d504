"""The `grape` command: one grape in a process, with the flags of the Node.js `grape`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from importlib.metadata import version
from typing import Final, NoReturn

import uvloop

from grape import (
    Event,
    Grape,
    GrapeSettings,
    NodeAdded,
    PeerFound,
    Ready,
    ServiceStored,
    parse_address,
)
from grape.contact import PORT_MAX, Address, is_host
from grape.endpoint import ANY_HOST, LOOPBACK

EXIT_USAGE: Final = 1  # as the Node.js grape
EXIT_PORT_BUSY: Final = 2

_EPILOG: Final = """\
The DHT speaks UDP over IPv4 and must be reachable by the other grapes, so it listens on all
interfaces unless --dht_host says otherwise; bind it to a private network. The HTTP API has neither
authentication nor encryption and listens on 127.0.0.1 unless -b says otherwise.

example: grape --dp 20001 --aph 30001 --bn '127.0.0.1:20002,127.0.0.1:20003'
"""


class _Parser(argparse.ArgumentParser):
    """Says which arguments are missing in the words, and with the status, of the Node.js grape."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"\n{message}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags; three of them are required, which `parse` checks."""
    parser = _Parser(
        prog="grape",
        allow_abbrev=False,
        description="A node of the Grenache DHT with its HTTP API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = GrapeSettings()
    add = parser.add_argument
    add("--dp", "--dht_port", type=_port, metavar="PORT", help="DHT port (UDP); required")
    add("--aph", "--api_port", type=_port, metavar="PORT", help="HTTP API port; required")
    add(
        "--bn",
        "--bootstrap",
        type=_bootstrap,
        metavar="HOST:PORT,...",
        help="grapes to join, '' for none; required",
    )
    add("-b", "--b", "--bind", metavar="HOST", help=f"HTTP API host (default {LOOPBACK})")
    add("--dht_host", default=ANY_HOST, metavar="HOST", help="DHT host (default all interfaces)")
    _add_number(parser, "--dc", "--dht_concurrency", default=defaults.concurrency)
    _add_number(parser, "--dht_maxTables", default=defaults.tables_max)
    _add_number(parser, "--dht_maxValues", default=defaults.values_max)
    _add_number(parser, "--dpa", "--dht_peer_maxAge", default=defaults.peer_age_ms, unit="ms")
    _add_number(parser, "--dnl", "--dht_nodeLiveness", default=defaults.liveness_ms, unit="ms")
    _add_number(
        parser, "--check_maxPayloadSize", default=defaults.payload_bytes_max, unit="bytes of a body"
    )
    add(
        "--cache_maxAge",
        type=_positive,
        metavar="MS",
        help="accepted and without effect: this grape caches no look-ups",
    )
    add("--events", action="store_true", help="write one line of JSON for each event")
    add("--version", action="version", version=version("raft-exchange"))
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the flags; exits with status 1 and a word if they cannot be used."""
    parser = make_parser()
    flags = parser.parse_args(arguments)
    missing = [name for name in ("dp", "bn", "aph") if getattr(flags, name) is None]
    if missing:
        parser.error(f"Missing required arguments: {', '.join(missing)}")
    if flags.aph == 0:
        parser.error("ERR_NO_PORT: --aph must name a port")
    if not is_host(flags.dht_host):
        parser.error(f"--dht_host {flags.dht_host} is not an IPv4 address")
    return flags


def settings_of(flags: argparse.Namespace) -> GrapeSettings:
    """Return the settings that the flags ask for.

    With `-b` the IPv4 address of an interface, services announced here are published at that
    address; any other value of `-b` (`0.0.0.0`, loopback, a name) says where to listen only.
    """
    bind = flags.b or LOOPBACK
    is_published = is_host(bind) and bind != ANY_HOST and not bind.startswith("127.")
    own_host = bind if is_published else None
    return GrapeSettings(
        dht_host=flags.dht_host,
        dht_port=flags.dp,
        api_host=bind,
        api_port=flags.aph,
        bootstrap=flags.bn,
        own_host=own_host,
        peer_age_ms=flags.dpa,
        liveness_ms=flags.dnl,
        concurrency=flags.dc,
        tables_max=flags.dht_maxTables,
        values_max=flags.dht_maxValues,
        payload_bytes_max=flags.check_maxPayloadSize,
    )


def describe(event: Event, grape: Grape) -> dict[str, object] | None:
    """Return the line of an event, None for those that only concern one request."""
    match event:
        case Ready():
            dht = _join(grape.dht_address)
            return {"event": "ready", "id": grape.node_id.hex(), "dht": dht, "api": grape.api_url}
        case NodeAdded(contact=contact):
            return {"event": "node", "id": contact.node_id.hex(), "node": _join(contact.address)}
        case ServiceStored(name=name, peer=peer):
            line: dict[str, object] = {"event": "announce", "service": _text(name)}
            return line | {"port": peer[1]} | ({"peer": _join(peer)} if peer[0] else {})
        case PeerFound(name=name, peer=peer):
            return {"event": "peer", "service": _text(name), "peer": _join(peer)}
    return None


async def run(flags: argparse.Namespace) -> int:
    """Run a grape until SIGINT or SIGTERM; return the exit status."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    grape = Grape(settings_of(flags))

    def write(event: Event) -> None:
        try:
            _write(event, grape)
        except BrokenPipeError:  # whoever read the events has gone: end with him
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stopped.set()

    if flags.events:
        grape.add_listener(write)
    try:
        await grape.start()
    except OSError as error:
        flag, port = ("--dp", flags.dp) if grape.is_api_bound else ("--aph", flags.aph)
        print(f"grape: {flag} {port}: {error.strerror or error}", file=sys.stderr)
        return EXIT_PORT_BUSY
    print(f"grape: DHT on UDP {_join(grape.dht_address)}, HTTP on {grape.api_url}", file=sys.stderr)
    await stopped.wait()
    await grape.stop()
    return 0


def main() -> None:
    """Run the command."""
    flags = parse(sys.argv[1:])
    sys.exit(uvloop.run(run(flags)))


def _write(event: Event, grape: Grape) -> None:
    line = describe(event, grape)
    if line is not None:
        print(json.dumps(line), flush=True)


def _add_number(
    parser: argparse.ArgumentParser, *names: str, default: int, unit: str = "at most"
) -> None:
    text = f"{unit} (default {default})"
    parser.add_argument(*names, type=_positive, default=default, metavar="N", help=text)


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return number


def _bootstrap(text: str) -> list[str]:
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    try:
        for entry in entries:
            parse_address(entry)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return entries


def _join(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


if __name__ == "__main__":
    main()
