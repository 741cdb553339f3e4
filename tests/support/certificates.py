"""Certificates for tests of TLS, made by openssl and good for two days."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: an authority, what it has signed, and an authority that nobody knows."""

    folder: Path

    @property
    def authority(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def unknown_authority(self) -> str:
        return str(self.folder / "other.pem")

    @property
    def unknown_authority_key(self) -> str:
        return str(self.folder / "other.key")

    @property
    def server(self) -> str:
        """The servers', for the address 127.0.0.1 alone: as `localhost` they are somebody else."""
        return str(self.folder / "server.pem")

    @property
    def server_key(self) -> str:
        return str(self.folder / "server.key")

    @property
    def client(self) -> str:
        return str(self.folder / "client.pem")

    @property
    def client_key(self) -> str:
        return str(self.folder / "client.key")


def make_certificates(folder: Path) -> Certificates:
    """All of them, made in this folder."""
    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-days", "2"]
        extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *extensions, *files)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        request = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *request)
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return Certificates(folder)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
