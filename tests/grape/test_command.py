"""The `grape` command: its flags, its events, its exit statuses."""

import asyncio
import os
import signal

import pytest

from grape import GrapeSettings
from grape.__main__ import EXIT_PORT_BUSY, EXIT_USAGE, parse, settings_of
from tests.support.coroutines import eventually, in_loop
from tests.support.grapes import LOOPBACK, command, grapes, join, next_event, started, udp_socket
from tests.support.node_modules import free_port

REQUIRED = ["--dp", "20001", "--aph", "30001", "--bn", ""]


def settings(*arguments: str) -> GrapeSettings:
    return settings_of(parse([*REQUIRED, *arguments]))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (["--dc", "32"], ["--dht_concurrency", "32"]),
        (["--dpa", "5000"], ["--dht_peer_maxAge", "5000"]),
        (["--dnl", "5000"], ["--dht_nodeLiveness", "5000"]),
        (["-b", "10.0.0.1"], ["--bind", "10.0.0.1"]),
        (["--bn", "a:1,b:2"], ["--bootstrap", "a:1,b:2"]),
        (["--dp", "1"], ["--dht_port", "1"]),
        (["--aph", "1"], ["--api_port", "1"]),
    ],
)
def test_long_names_and_equal_signs_mean_the_same(short: list[str], long: list[str]) -> None:
    assert settings(*short) == settings(*long)
    assert settings(*short) == settings("=".join(short)) == settings("=".join(long))
    assert settings(*short) != settings()


def test_a_flag_left_out_keeps_its_default() -> None:
    """The Node.js command overwrites every default with nothing: peers never age there."""
    assert settings() == GrapeSettings(
        dht_host="0.0.0.0",
        dht_port=20001,
        api_host=LOOPBACK,
        api_port=30001,
        bootstrap=[],
        peer_age_ms=120_000,
        liveness_ms=300_000,
        concurrency=24,
        tables_max=5_000,
        values_max=5_000,
        payload_bytes_max=8_192,
    )


def test_bounds_are_taken_from_their_flags() -> None:
    found = settings(
        "--dht_maxTables=7", "--dht_maxValues=8", "--check_maxPayloadSize=9", "--cache_maxAge=10"
    )
    assert (found.tables_max, found.values_max, found.payload_bytes_max) == (7, 8, 9)


@pytest.mark.parametrize(
    ("bind", "api_host", "own_host"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "0.0.0.0", None),
        ("localhost", "localhost", None),
        ("127.0.0.1", "127.0.0.1", None),
    ],
)
def test_only_the_address_of_an_interface_is_published(
    bind: str, api_host: str, own_host: str | None
) -> None:
    found = settings("-b", bind)
    assert (found.api_host, found.own_host) == (api_host, own_host)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Missing required arguments: dp, bn, aph"),
        (["--dp", "20001"], "Missing required arguments: bn, aph"),
        (["--dp", "20001", "--aph", "0", "--bn", ""], "ERR_NO_PORT"),
        ([*REQUIRED, "--dp", "70000"], "70000 is not a port"),
        ([*REQUIRED, "--bn", "10.0.0.1"], "is not host:port"),
        ([*REQUIRED, "--dht_host", "localhost"], "is not an IPv4 address"),
        ([*REQUIRED, "--dpa", "0"], "0 is not positive"),
        ([*REQUIRED, "--dpa", "x"], "invalid"),
        ([*REQUIRED, "--nothing"], "--nothing"),
    ],
)
def test_what_cannot_be_used_is_said(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        parse(arguments)
    assert raised.value.code == EXIT_USAGE
    assert word in capsys.readouterr().err


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    for flag in ("--dp", "--aph", "--bn", "-b", "--dc", "--dpa", "--dnl", "--events", "--dht_host"):
        assert flag in shown


@in_loop
async def test_events_are_lines_of_json() -> None:
    dht_port, api_port = str(free_port()), str(free_port())
    async with grapes(1) as (other,):
        flags = ["--dp", dht_port, "--aph", api_port, "--bn", join(other.dht_address)]
        async with command(*flags, "--dht_host", LOOPBACK, "--events") as process:
            node = await next_event(process, "node")
            assert node == {
                "event": "node",
                "id": other.node_id.hex(),
                "node": join(other.dht_address),
            }
            ready = await next_event(process, "ready")
            assert (ready["dht"], ready["api"]) == (
                f"{LOOPBACK}:{dht_port}",
                f"http://{LOOPBACK}:{api_port}",
            )
            await eventually(lambda: len(other.contacts) == 1)
            assert await other.announce("żółć", 1337) == 1
            assert await next_event(process, "announce") == {
                "event": "announce",
                "service": "żółć",
                "port": 1337,
                "peer": f"{LOOPBACK}:1337",
            }


@in_loop
async def test_a_signal_ends_it_cleanly_and_frees_its_ports() -> None:
    dht_port, api_port = free_port(), free_port()
    flags = ["--dp", str(dht_port), "--aph", str(api_port), "--bn", "", "--events"]
    for number in (signal.SIGTERM, signal.SIGINT):
        async with command(*flags) as process:
            assert (await next_event(process, "ready"))["dht"] == f"0.0.0.0:{dht_port}"
            process.send_signal(number)
            async with asyncio.timeout(10.0):
                _, errors = await process.communicate()
            assert process.returncode == 0
            said = f"grape: DHT on UDP 0.0.0.0:{dht_port}, HTTP on http://{LOOPBACK}:{api_port}\n"
            assert errors.decode() == said


@in_loop
async def test_a_busy_port_is_said_with_its_flag() -> None:
    api_port = str(free_port())
    with udp_socket() as taken:
        busy = str(taken.getsockname()[1])
        async with command("--dp", busy, "--aph", api_port, "--bn", "") as process:
            async with asyncio.timeout(30.0):
                _, errors = await process.communicate()
            assert process.returncode == EXIT_PORT_BUSY
            assert f"--dp {busy}: " in errors.decode()
    async with grapes(1) as (other,):
        busy = other.api_url.rpartition(":")[2]
        async with command("--dp", str(free_port()), "--aph", busy, "--bn", "") as process:
            async with asyncio.timeout(30.0):
                _, errors = await process.communicate()
            assert process.returncode == EXIT_PORT_BUSY
            assert f"--aph {busy}: " in errors.decode()


@in_loop
async def test_when_the_reader_of_the_events_goes_the_command_ends() -> None:
    dht_port = free_port()
    flags = ["--dp", str(dht_port), "--aph", str(free_port()), "--bn", "", "--events"]
    reading, writing = os.pipe()
    async with command(*flags, output=writing) as process:
        os.close(writing)
        await asyncio.to_thread(os.read, reading, 1)
        os.close(reading)
        visitor = await started(GrapeSettings(bootstrap=[f"{LOOPBACK}:{dht_port}"]))
        async with asyncio.timeout(30.0):
            assert await process.wait() == 0
        await visitor.stop()
