"""A certificate authority of the suite's own."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


class Authority:
    """Certificates for 127.0.0.1, made by the ``openssl`` command: ``good``, ``expired``, ``stranger`` (of an unknown
    authority) and ``elsewhere`` (for another host).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for ca in ("ca", "foreign"):
            self._openssl(
                "req",
                "-x509",
                *self._key(ca),
                "-subj",
                f"/CN={ca}",
                "-days",
                "2",
                "-out",
                f"{ca}.pem",
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign",
            )  # fmt: skip  (Python 3.13 asks for it)
        self._issue("good", "ca", "IP:127.0.0.1")
        self._issue("stranger", "foreign", "IP:127.0.0.1")
        self._issue("elsewhere", "ca", "DNS:elsewhere.example")
        self._issue("expired", "ca", "IP:127.0.0.1", "-days", "-1")

    def server(self, name: str) -> ssl.SSLContext:
        """A server's context with that certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def _issue(self, name: str, ca: str, subject: str, *dates: str) -> None:
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={subject}\nbasicConstraints=CA:FALSE\n")
        self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-extfile",
                      f"{name}.ext", "-out", f"{name}.pem", *(dates or ("-days", "1")))  # fmt: skip

    @staticmethod
    def _key(name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=30)
