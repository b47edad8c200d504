"""What a node's certificates may be, and whose it takes when it asks another node."""

from __future__ import annotations

import logging
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from grape import GrapeSettings
from raft_exchange.dht_network import DhtNetwork
from raft_exchange.introduction import introduce
from raft_exchange.listening import WrongSetting
from raft_exchange.tls import NodeTls
from tests.support.certificates import Certificates, make_certificates
from tests.support.coroutines import in_loop
from tests.support.forming import statement

SECRET = b"0123456789abcdef"


def made(folder: Path, name: str) -> Certificates:
    (folder / name).mkdir()
    return make_certificates(folder / name, authority_name=f"authority of {name}")


def tls_of(own: Certificates, *, ca: Path | None = None) -> NodeTls:
    return NodeTls(cert=own.cert, key=own.key, ca=ca)


def test_no_earlier_protocol_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    tls = tls_of(made(tmp_path, "n1"))
    assert tls.server is not None
    assert tls.server.minimum_version == tls.peers.minimum_version == ssl.TLSVersion.TLSv1_2


def test_without_a_certificate_there_is_no_tls() -> None:
    assert NodeTls(cert=None, key=None, ca=None).server is None


def _encrypted(own: Certificates) -> None:
    key = serialization.load_pem_private_key(own.key.read_bytes(), password=None)
    own.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    own, other = made(tmp_path, "n1"), made(tmp_path, "n2")
    missing, folder = tmp_path / "none.pem", tmp_path
    with pytest.raises(WrongSetting, match=r"^tls_cert: cannot read .*none\.pem"):
        NodeTls(cert=missing, key=own.key, ca=None)
    with pytest.raises(WrongSetting, match=r"^tls_key: cannot read .*Is a directory"):
        NodeTls(cert=own.cert, key=folder, ca=None)
    with pytest.raises(WrongSetting, match=r"^tls_key: .* of the certificate in"):
        NodeTls(cert=own.cert, key=other.key, ca=None)
    with pytest.raises(WrongSetting, match=r"^tls_ca: .* no PEM certificates"):
        NodeTls(cert=own.cert, key=own.key, ca=own.key)
    _encrypted(own)
    with pytest.raises(WrongSetting, match=r"^tls_key: .*not encrypted"):
        NodeTls(cert=own.cert, key=own.key, ca=None)


def test_a_bad_new_pair_is_logged_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = made(tmp_path, "n1"), made(tmp_path, "n2")
    tls = tls_of(own)
    before = tls.server
    shutil.copy(other.cert, own.cert)  # its key is not there yet
    tls.reload()
    assert tls.server is before
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "tls_key" in caplog.text
    shutil.copy(other.key, own.key)
    tls.reload()
    assert tls.server is not before


@asynccontextmanager
async def node_with(own: Certificates) -> AsyncIterator[str]:
    """Something that answers over TLS as a node of the secret does."""

    async def answer(request: web.Request) -> web.Response:
        nonce = request.query["nonce"]
        return web.Response(body=introduce(statement("n1"), nonce=nonce, secret=SECRET))

    app = web.Application()
    app.router.add_get("/v1/node", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls_of(own).server).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asks(url: str, tls: NodeTls) -> str:
    network = DhtNetwork(
        GrapeSettings(),
        cluster="exchange",
        secret=SECRET,
        http_port=1,
        scheme="https",
        tls=tls.peers,
    )
    await network.start()
    try:
        return (await network.ask(url)).id
    finally:
        await network.stop()


def test_only_certificates_of_the_authority_are_taken_where_one_is_named(tmp_path: Path) -> None:
    @in_loop
    async def ask() -> None:
        one, two = made(tmp_path, "n1"), made(tmp_path, "n2")
        async with node_with(two) as url:
            assert await asks(url, tls_of(one)) == "n1", "the secret says who it is"
            assert await asks(url, tls_of(one, ca=two.ca)) == "n1"
            strict = tls_of(one, ca=one.ca)
            with pytest.raises(ConnectionError):
                await asks(url, strict)
            one.ca.write_bytes(one.ca.read_bytes() + two.ca.read_bytes())
            strict.reload()
            assert await asks(url, strict) == "n1"

    ask()
