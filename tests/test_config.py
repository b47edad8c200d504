"""Settings: flag over environment over file; a wrong one is named with what is allowed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from raft_exchange import config

NEEDED = {
    "name": "n1",
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
        {**NEEDED, "http_port": "10"},
        {"RAFT_EXCHANGE_HTTP_PORT": "20", "RAFT_EXCHANGE_RAFT_PORT": "30"},
        file,
    )
    assert (settings.http_port, settings.raft_port, settings.drain_seconds) == (10, 30, 3)
    assert not settings.seed_services


def test_a_certificate_and_its_key_go_together() -> None:
    for given, missing in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        with pytest.raises(config.ConfigError, match=f"^{missing}: missing"):
            load({**NEEDED, given: "node.pem"})
    settings = load({**NEEDED, "tls_cert": "node.pem", "tls_key": "key.pem"})
    assert (settings.tls_cert, settings.tls_ca) == (Path("node.pem"), None)


def test_orders_are_limited_by_default_where_there_are_keys() -> None:
    assert load().orders_per_s_max == 1_000
    assert load({**NEEDED, "auth": "open"}).orders_per_s_max == 0
    assert load({**NEEDED, "auth": "open", "order_rate": "7"}).orders_per_s_max == 7
    assert load({**NEEDED, "order_rate": "0"}).orders_per_s_max == 0


def test_bootstrap_addresses_are_read_in_order() -> None:
    assert load().bootstrap == ()
    flags = {**NEEDED, "bootstrap": "10.0.0.1:20001,grapes.example:20002"}
    assert load(flags).bootstrap == ("10.0.0.1:20001", "grapes.example:20002")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "n 1"),
        ("name", ""),
        ("expect", "0"),
        ("expect", "10"),
        ("bootstrap", "10.0.0.1"),
        ("bootstrap", "10.0.0.1:0"),
        ("bootstrap", "[::1]:20001"),
        ("bootstrap", "::1:20001"),
        ("bootstrap", ",".join(["10.0.0.1:20001"] * 9)),
        ("dht_host", "localhost"),
        ("dht_host", "::1"),
        ("dht_port", "0"),
        ("dht_peer_age_seconds", "5"),
        ("grape_http_host", "::1"),
        ("metrics_port", "0"),
        ("order_rate", "-1"),
        ("order_burst", "0"),
        ("grenache_port", "65536"),
        ("advertise_http_url", "ftp://x"),
        ("advertise_http_url", "http://:8081"),
        ("advertise_http_url", "http://x:99999"),
        ("advertise_http_url", "http://x/path"),
        ("advertise_raft_address", "n1"),
        ("advertise_raft_address", "n1:0"),
        ("http_port", "0"),
        ("http_port", "65536"),
        ("http_port", "80a"),
        ("http_port", "-1"),
        ("http_port", "\u0661"),
        ("host", "::1"),
        ("durability", "maybe"),
        ("auth", "closed"),
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
        ("data_dir", ""),
        ("cluster_secret_file", "\0"),
        ("seed_services", "yes"),
        ("cors_origins", "example.com"),
        ("allowed_hosts", "http://example.com"),
        ("allowed_hosts", ",".join(f"h{number}" for number in range(33))),
        ("drain_seconds", "0"),
        ("drain_seconds", "601"),
        ("log_level", "loud"),
        ("log_format", "xml"),
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


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "n1.example", "128.0.0.1"])
def test_without_keys_the_network_is_let_in_only_by_an_explicit_word(host: str) -> None:
    with pytest.raises(config.ConfigError, match=f"host: '{host}' lets everybody"):
        load({**NEEDED, "auth": "open", "host": host})
    opened = load({**NEEDED, "auth": "open", "host": host, "allow_open_network": "on"})
    assert opened.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_this_machine_is_always_let_in(host: str) -> None:
    assert load({**NEEDED, "host": host}).host == host


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
