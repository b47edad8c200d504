"""TLS of a node: what it serves HTTP with, and how it looks at the certificates of other nodes.

Rules:
- TLS 1.2 or later. The certificate and the key are files, read at start and again at SIGHUP: new
  connections get the new pair, those that are open go on. A pair that cannot be used is logged, and
  the one before stays.
- Who a node believes is decided by the cluster secret, not by certificates: introductions, pages of
  history and requests of members carry proofs. So a certificate of another node is not looked at
  unless there is an authority for them (`ca`). With one, a node answers to be asked only if that
  authority signed its certificate; the name in it does not matter, because nodes are found by
  address. It keeps what nodes tell each other from whoever sits between them.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from raft_exchange.listening import WrongSetting

_logger = logging.getLogger(__name__)


class NodeTls:
    """The TLS contexts of one node.

    Args:
        cert: a PEM file: the node's certificate, then those up to its authority; None: plain HTTP.
        key: the PEM file of its key, not encrypted; None exactly where `cert` is.
        ca: a PEM file of the authorities of the other nodes' certificates, None to take any.

    Attributes:
        server: what new connections are served with, None for plain HTTP.
        peers: how other nodes are asked, where their URL is `https`.

    Raises:
        WrongSetting: a file cannot be used; the message names the setting.
    """

    def __init__(self, *, cert: Path | None, key: Path | None, ca: Path | None) -> None:
        self._cert, self._key, self._ca = cert, key, ca
        self.server = None if cert is None or key is None else _server_context(cert, key)
        self.peers = _peer_context(ca)

    def reload(self) -> None:
        """Read the files anew; what cannot be used is logged, and the former stays."""
        try:
            if self._cert is not None and self._key is not None:
                self.server = _server_context(self._cert, self._key)
                _logger.info("tls_cert: %s is served from now on", self._cert)
            if self._ca is not None:
                _trust(self.peers, self._ca)  # beside those trusted before
        except WrongSetting as error:
            _logger.error("%s; the certificate from before is served on", error)


def _server_context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    for setting, path in (("tls_cert", cert), ("tls_key", key)):
        _check_readable(setting, path)
    try:
        context.load_cert_chain(cert, key, password="")  # never ask a terminal
    except (ssl.SSLError, OSError, ValueError) as error:
        raise WrongSetting(
            f"tls_key: {str(key)!r} is no PEM key, not encrypted, of the certificate in "
            f"{str(cert)!r}: {error}"
        ) from error
    return context


def _peer_context(ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    if ca is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, ca)
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    _check_readable("tls_ca", ca)
    try:
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError) as error:
        raise WrongSetting(f"tls_ca: {str(ca)!r} holds no PEM certificates: {error}") from error


def _check_readable(setting: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise WrongSetting(f"{setting}: cannot read {str(path)!r}: {error.strerror}") from error
