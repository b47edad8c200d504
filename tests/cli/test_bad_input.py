"""Bad input of people: exit code 2, and what was wrong by name; never a traceback."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raft_exchange.__main__ import main
from raft_exchange.client import ExchangeClient, SigningKey, WriteKey
from tests.support.coroutines import in_loop

PLACE = ("order", "place", "buy", "1", "100")
UNTIL = ("--until", "2030-01-01T00:00:00Z")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what is said of arguments that are refused, by the parser or after it."""
    with pytest.raises(SystemExit, match="2"):
        sys.exit(main(arguments))
    return capsys.readouterr().err


def test_a_key_file_of_two_lines_is_named_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.keys"
    file.write_text("first-secret\nsecond-secret\n")
    for command in (PLACE, ("probe", "http://127.0.0.1:1")):
        said = refused(capsys, *command, "--key-file", str(file))
        assert f"--key-file '{file}'" in said
        assert "one line" in said
        assert "secret" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*PLACE, "--repeat", "a\nb", *UNTIL), r"--repeat: .*'a\nb'"),
        ((*PLACE, "--account", "a\rb"), r"account: 'a\rb'"),
        (
            (*PLACE, "--expires-at", "0001-01-01"),
            "--expires-at: '0001-01-01': allowed an RFC 3339 time",
        ),
        ((*PLACE, "--expires-at", "9999-12-31T23:59:59-05:00"), "--expires-at: '9999-12-31"),
        ((*PLACE, "--repeat", "a", "--until", "tomorrow"), "--until: 'tomorrow'"),
        (("bench", "--url", "http://h:abc"), "--url: 'http://h:abc'"),
        (("bench", "--url", "http://h,"), "--url: ''"),
        (("bench", "--url", "https://h:1"), "--url: 'https://h:1'"),
    ],
)
def test_it_names_the_flag_and_what_was_given(
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = refused(capsys, *arguments)
    for part in said.split(".*"):
        assert part in found


@pytest.mark.parametrize("text", ["a\nb", "a\r\nX-Other: 1", "a\0", "\x7f", "é", "\ud800"])
def test_a_client_takes_nothing_that_no_header_can_hold(text: str) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(ValueError, match="key: what was given is not"):
        ExchangeClient(url, key=text)
    with pytest.raises(ValueError, match="account: '"):
        ExchangeClient(url, account=text)
    with pytest.raises(ValueError, match="key_id: '"):
        ExchangeClient(url, signing_key=SigningKey.new(), key_id=text)
    with pytest.raises(ValueError, match="name of a key: '"):
        WriteKey(text, datetime.now(UTC))


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"no"]
)
@in_loop
async def test_a_bench_whose_node_breaks_off_says_so(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        with pytest.raises(SystemExit) as stopped:
            await asyncio.to_thread(main, ["bench", "--url", url, "--clients", "2"])
    assert stopped.value.code == 1
    assert f"--url: {url} gave no whole answer" in capsys.readouterr().err
