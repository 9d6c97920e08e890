"""Certificates for tests, made by the program openssl.

    def test_something(certificates):
        certificates.server             # (certificate, key) of localhost and 127.0.0.1: paths
        certificates.authority          # what vouches for it
        certificates.other_authority    # what doesn't
        certificates.client             # (certificate, key) that vouches for itself
        certificates.expired            # for what this was true yesterday
"""

import shutil
import ssl
import subprocess
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there")
    folder = tmp_path_factory.mktemp("certificates")
    server, client, other = (self_signed(folder, name) for name in ("server", "client", "other"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    return SimpleNamespace(server=server, client=client, other=other,
                           expired=_expired(folder, client),
                           authority=server[0], other_authority=other[0],
                           context=context)


def self_signed(folder, name):
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return str(certificate), str(key)


def _expired(folder, authority):
    certificate, request, key = (folder / f"expired.{what}" for what in ("pem", "csr", "key"))
    for command in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                     "/CN=expired", "-keyout", str(key), "-out", str(request)],
                    ["x509", "-req", "-in", str(request), "-CA", authority[0], "-CAkey", authority[1],
                     "-set_serial", "1", "-days", "-1", "-out", str(certificate)]):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return str(certificate), str(key)
