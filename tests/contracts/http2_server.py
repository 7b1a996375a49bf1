"""A web server on loopback that speaks HTTP/2 over TLS, by certificates of an authority made for the test.

Like `tests.contracts.web_server` it does what a test writes, and here that may go as far as frames that no server sends.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

if TYPE_CHECKING:
    from pathlib import Path

Reply = Callable[[H2Connection, int], None]
"""Answers the stream of that number."""


def says(body: bytes, *headers: tuple[str, str], status: str = "200") -> Reply:
    """Answer with a body."""

    def reply(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", status), *headers])
        connection.send_data(stream, body, end_stream=True)

    return reply


class Http2Server:
    """Serves `replies` by path to whoever takes HTTP/2 by ALPN.

    Attributes:
        connections: for each that was opened, its protocol and the authorities that were asked for on it.
        trust: what a client needs to trust this server.
    """

    def __init__(self, names: list[str], folder: Path) -> None:
        self.replies: dict[str, Reply] = {}
        self.connections: list[tuple[str | None, list[str]]] = []
        self.port = 0
        certificate = _certificate(names, folder)
        self.trust = ssl.create_default_context(cafile=certificate)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(certificate)
        self.tls.set_alpn_protocols(["h2"])

    @property
    def allowed(self) -> str:
        """The rule that opens this server, as in `settings.net_allow`."""
        return f"127.0.0.1/32:{self.port}"

    def url(self, path: str = "/", host: str = "a.example") -> str:
        return f"https://{host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[str] = []
        self.connections.append((writer.get_extra_info("ssl_object").selected_alpn_protocol(), asked))
        connection = H2Connection(
            # What a test sends is sent as it stands.
            H2Configuration(client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        connection.initiate_connection()
        try:
            writer.write(connection.data_to_send())
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        head = {name.decode(): value.decode() for name, value in event.headers}
                        asked.append(head[":authority"])
                        self.replies[head[":path"]](connection, event.stream_id)
                writer.write(connection.data_to_send())
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.close()


@asynccontextmanager
async def serving_http2(folder: Path, names: list[str]) -> AsyncIterator[Http2Server]:
    """Run a server on a free port of loopback whose certificate is for these names."""
    web = Http2Server(names, folder)
    server = await asyncio.start_server(web.answer, "127.0.0.1", 0, ssl=web.tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()


def _certificate(names: list[str], folder: Path) -> Path:
    """Write a certificate that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
