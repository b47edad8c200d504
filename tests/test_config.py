"""Settings: flag over environment over file; a wrong one is named with what is allowed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from raft_exchange import config

MEMBERS = "n1=127.0.0.1:7081=http://127.0.0.1:8081,n2=127.0.0.1:7082=http://127.0.0.1:8082"
ADVERTISED = "n1=n1.example:7081=http://n1.example:8081"
NEEDED = {
    "node_id": "n1",
    "members": MEMBERS,
    "data_dir": "data",
    "cluster_secret_file": "secret",
}


def load(
    flags: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    file: Path | None = None,
) -> config.Settings:
    parser = argparse.ArgumentParser()
    config.add_flags(parser)
    arguments = list(config.node_arguments(NEEDED if flags is None else flags))
    if file is not None:
        arguments += ["--config", str(file)]
    return config.load(parser.parse_args(arguments), environment or {})


def test_defaults_are_as_the_help_says() -> None:
    settings = load()
    assert (settings.http_port, settings.raft_port, settings.durability) == (8081, 7081, "fsync")
    (market,) = settings.founding_markets
    assert (market.market, market.tick_size_e18, market.lot_size_e18) == ("BTC-USD", 10**16, 10**10)


def test_a_flag_beats_the_environment_and_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("http_port = 1\nraft_port = 2\ndrain_seconds = 3\nseed_services = false\n")
    settings = load(
        {**NEEDED, "members": ADVERTISED, "http_port": "10"},
        {"RAFT_EXCHANGE_HTTP_PORT": "20", "RAFT_EXCHANGE_RAFT_PORT": "30"},
        file,
    )
    assert (settings.http_port, settings.raft_port, settings.drain_seconds) == (10, 30, 3)
    assert not settings.seed_services


def test_members_are_read_with_their_addresses() -> None:
    first, second = load().members
    assert (first.id, first.raft_endpoint(), first.http_url) == (
        "n1",
        ("127.0.0.1", 7081),
        "http://127.0.0.1:8081",
    )
    assert second.id == "n2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_id", "n 1"),
        ("node_id", ""),
        ("members", ""),
        ("members", "n1"),
        ("members", "n1=127.0.0.1=http://x"),
        ("members", "n1=127.0.0.1:0=http://x"),
        ("members", "n1=127.0.0.1:7081=ftp://x"),
        ("members", MEMBERS + "," + MEMBERS),
        ("http_port", "0"),
        ("http_port", "65536"),
        ("http_port", "80a"),
        ("http_port", "-1"),
        ("http_port", "\u0661"),
        ("host", "0.0.0.0"),
        ("durability", "maybe"),
        ("auth", "required"),
        ("founding_markets", "BTC-USD"),
        ("founding_markets", "BTCUSD:0.01:1"),
        ("founding_markets", "BTC-USD:0:1"),
        ("founding_markets", "BTC-USD:0.00:1"),
        ("founding_markets", "BTC-USD:1e3:1"),
        ("founding_markets", "BTC-USD:0.0000000000000000001:1"),
        ("founding_markets", "BTC-USD:100000000000:1"),
        ("founding_markets", "BTC-BTC:0.01:1"),
        ("founding_markets", "BTC-USD:0.01:1,BTC-USD:0.02:1"),
        ("founding_markets", ",".join(f"A{number}-USD:1:1" for number in range(101))),
        ("members", "n1=127.0.0.1:7081=http://:8081"),
        ("members", "n1=127.0.0.1:7081=http://x:99999"),
        ("data_dir", ""),
        ("cluster_secret_file", "\0"),
        ("seed_services", "yes"),
        ("cors_origins", "example.com"),
        ("drain_seconds", "0"),
        ("drain_seconds", "601"),
        ("log_level", "loud"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        load({**NEEDED, name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: {value!r} (from {config.flag(name)})")
    assert "allowed: " in message


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named_with_its_flag_and_variable(name: str) -> None:
    flags = {key: value for key, value in NEEDED.items() if key != name}
    with pytest.raises(config.ConfigError) as caught:
        load(flags)
    assert str(caught.value).startswith(
        f"{name}: missing; give {config.flag(name)} or RAFT_EXCHANGE_{name.upper()}"
    )


def test_a_node_must_be_among_the_members() -> None:
    with pytest.raises(config.ConfigError, match=r"node_id: 'n9' is not among members.*n1, n2"):
        load({**NEEDED, "node_id": "n9"})


@pytest.mark.parametrize(
    ("changed", "other"),
    [("http_port", 8081), ("raft_port", 7081)],
)
def test_a_node_listens_where_the_members_look_for_it(changed: str, other: int) -> None:
    for host in ("127.0.0.1", "localhost"):
        members = f"n1={host}:7081=http://{host}:8081"
        assert load({**NEEDED, "members": members, changed: str(other)})
        with pytest.raises(config.ConfigError) as caught:
            load({**NEEDED, "members": members, changed: "99"})
        assert str(caught.value).startswith(f"{changed}: 99, but members gives n1 port {other}")


def test_an_advertised_host_may_map_its_ports() -> None:
    settings = load({**NEEDED, "members": ADVERTISED, "http_port": "80", "raft_port": "70"})
    assert (settings.http_port, settings.raft_port) == (80, 70)


def test_a_url_without_a_port_has_its_schemes() -> None:
    members = "n1=127.0.0.1:7081=http://127.0.0.1"
    assert load({**NEEDED, "members": members, "http_port": "80"}).http_port == 80
    with pytest.raises(config.ConfigError, match="members gives n1 port 80"):
        load({**NEEDED, "members": members})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("httpport = 1", "httpport: no such setting"),
        ("= 1", "config: cannot read"),
        ("http_port = 0", "http_port: '0' (from file"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(config.ConfigError) as caught:
        load(file=file)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="config: cannot read"):
        load(file=tmp_path / "none.toml")


@pytest.mark.parametrize(("size", "fits"), [(15, False), (16, True), (4096, True), (4097, False)])
def test_the_cluster_secret_has_bounds(tmp_path: Path, size: int, fits: bool) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"x" * size + b"\n")
    if fits:
        assert config.read_secret(file) == b"x" * size
    else:
        with pytest.raises(config.ConfigError, match=f"holds {size} bytes; allowed: 16-4096"):
            config.read_secret(file)


def test_a_missing_secret_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="cluster_secret_file: cannot read"):
        config.read_secret(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "x", "-1", "1048575"])
def test_a_lifeline_that_is_no_open_descriptor_is_told(text: str) -> None:
    with pytest.raises(config.ConfigError, match=r"RAFT_EXCHANGE_LIFELINE: .* no open descriptor"):
        config.lifeline({"RAFT_EXCHANGE_LIFELINE": text})


def test_a_child_is_given_its_lifeline_by_number() -> None:
    assert config.lifeline({}) is None
    assert config.lifeline(config.node_environment(0)) == 0
