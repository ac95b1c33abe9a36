"""Certificates for servers on loopback, made by ``openssl`` when they are wanted: nothing secret is kept anywhere."""

import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

import pytest

_REQUEST: Final = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
[elsewhere]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:elsewhere.example
"""


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A CA of its own, and what it issues."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        """``directory``: is made, where it is not there. Skips the test where there is no openssl."""
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed (apt install openssl)")
        directory.mkdir(exist_ok=True)
        self._directory = directory
        (directory / "request.cnf").write_text(_REQUEST)
        self._name = name
        self._pair = self._made(name, "ca")
        self.file = self._pair.certificate

    def issue(self, name: str, kind: str = "leaf") -> Pair:
        """One for 127.0.0.1; ``elsewhere``: for another host."""
        return self._made(
            f"{self._name}-{name}", kind, "-CA", str(self._pair.certificate), "-CAkey", str(self._pair.key)
        )

    def _made(self, name: str, kind: str, *issuer: str) -> Pair:
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-config", str(self._directory / "request.cnf"), "-extensions", kind, "-subj", f"/CN={name}"]
        command += ["-days", "2", "-out", str(pair.certificate), "-keyout", str(pair.key), *issuer]
        subprocess.run(command, check=True, capture_output=True)
        return pair
