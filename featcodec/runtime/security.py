"""Tls: who a server is, and whose clients it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Tls:
    """A server's certificate.

    Attributes
    ----------
    certificate, key
        PEM files: the server's chain, and its private key.
    client_ca
        A PEM file: only clients that show a certificate of it are served. None: any client is.
    """

    certificate: str | Path
    key: str | Path
    client_ca: str | Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return gRPC's; FileNotFoundError where a file is missing."""
        pair = (Path(self.key).read_bytes(), Path(self.certificate).read_bytes())
        if self.client_ca is None:
            return grpc.ssl_server_credentials([pair])
        return grpc.ssl_server_credentials([pair], Path(self.client_ca).read_bytes(), require_client_auth=True)


def check_token(token: str | None) -> None:
    """Raise ValueError where a token is too short to keep anybody out, or cannot stand in metadata."""
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
        raise ValueError(f"a token has at least 16 printable ASCII characters and no space, got {len(token)} characters")
