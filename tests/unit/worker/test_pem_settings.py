"""Files of TLS: what is no PEM, or not the right one, is refused with the settings and told by its variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat
from redis.connection import parse_url

from tests.support.pem_files import PemPair, a_revocation_list, write_pem_pair
from worker.settings import FaultySettings, Settings, load_settings

#: What each variable is looked at with; with these alone nothing is wrong.
SWITCHES = {
    "DB": {"DB_SSL": "true"},
    "REDIS": {"REDIS_SSL": "true"},
    "KAFKA": {"KAFKA_SECURITY_PROTOCOL": "ssl"},
}

CERTIFICATES = ["DB_SSL_CA", "DB_SSL_CERT", "REDIS_SSL_CA", "REDIS_SSL_CERT", "KAFKA_SSL_CA", "KAFKA_SSL_CERT"]
KEYS = ["DB_SSL_KEY", "REDIS_SSL_KEY", "KAFKA_SSL_KEY"]


@pytest.fixture
def pem(tmp_path: Path) -> PemPair:
    return write_pem_pair(tmp_path)


def loaded(environ: dict[str, str]) -> Settings:
    return load_settings(environ, Path("/nowhere/.env"))


def with_file(variable: str, path: str, pem: PemPair) -> dict[str, str]:
    """Sound settings but for this variable's file."""
    server = variable.partition("_")[0]
    pair = {f"{server}_SSL_CERT": pem.cert, f"{server}_SSL_KEY": pem.key} if not variable.endswith("CA") else {}
    return {**SWITCHES[server], **pair, variable: path}


def fault(environ: dict[str, str]) -> str:
    """The only fault of these settings."""
    with pytest.raises(FaultySettings) as caught:
        loaded(environ)
    (only,) = caught.value.faults
    return only


def written(folder: Path, content: bytes) -> str:
    file = folder / "file.pem"
    file.write_bytes(content)
    return str(file)


@pytest.mark.parametrize("variable", [*CERTIFICATES, *KEYS])
def test_the_right_file_is_taken(variable: str, pem: PemPair) -> None:
    right = pem.key if variable in KEYS else pem.cert

    assert getattr(loaded(with_file(variable, right, pem)), variable.lower()) == right


@pytest.mark.parametrize("variable", [*CERTIFICATES, *KEYS])
def test_what_is_no_file_or_no_pem_is_refused_by_its_variable(variable: str, pem: PemPair, tmp_path: Path) -> None:
    nonsense = [str(tmp_path / "nowhere"), str(tmp_path)]
    for number, content in enumerate((b"", b"no PEM", b"\xff\xfe\x00", b"-----BEGIN CERTIFICATE-----\nx\n")):
        nonsense.append(str(tmp_path / f"{number}.pem"))
        Path(nonsense[-1]).write_bytes(content)

    told = [fault(with_file(variable, path, pem)) for path in nonsense]

    assert {one.partition(": ")[0] for one in told} == {variable}
    assert all("PEM" in one for one in told)
    assert str(tmp_path) not in "".join(told)


@pytest.mark.parametrize("variable", CERTIFICATES)
def test_a_key_is_no_certificate(variable: str, pem: PemPair) -> None:
    assert fault(with_file(variable, pem.key, pem)).startswith(f"{variable}: found ")


@pytest.mark.parametrize("variable", CERTIFICATES)
def test_a_certificate_that_was_cut_off_is_none(variable: str, pem: PemPair, tmp_path: Path) -> None:
    cut = written(tmp_path, Path(pem.cert).read_bytes()[:200])

    assert fault(with_file(variable, cut, pem)).startswith(f"{variable}: found ")


@pytest.mark.parametrize("variable", CERTIFICATES)
def test_a_list_of_revoked_certificates_is_none(variable: str, pem: PemPair, tmp_path: Path) -> None:
    revoked = written(tmp_path, a_revocation_list(pem))

    assert fault(with_file(variable, revoked, pem)).startswith(f"{variable}: found ")


@pytest.mark.parametrize("variable", KEYS)
def test_a_certificate_is_no_key(variable: str, pem: PemPair) -> None:
    assert fault(with_file(variable, pem.cert, pem)).startswith(f"{variable}: found ")


@pytest.mark.parametrize("variable", KEYS)
def test_a_key_that_was_cut_off_is_none(variable: str, pem: PemPair, tmp_path: Path) -> None:
    cut = written(tmp_path, Path(pem.key).read_bytes()[:150])

    assert fault(with_file(variable, cut, pem)).startswith(f"{variable}: allowed: ")


@pytest.mark.parametrize("variable", KEYS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    variable: str, form: PrivateFormat, pem: PemPair, tmp_path: Path
) -> None:
    locked = write_pem_pair(tmp_path, "locked", key_format=form, passphrase=b"hunter2")

    told = fault(with_file(variable, locked.key, pem))

    assert told.startswith(f"{variable}: found ")
    assert "without a passphrase" in told


@pytest.mark.parametrize("variable", KEYS)
def test_the_older_form_of_a_key_is_taken(variable: str, tmp_path: Path) -> None:
    older = write_pem_pair(tmp_path, "older", key_format=PrivateFormat.TraditionalOpenSSL)

    assert loaded(with_file(variable, older.key, older))


@pytest.mark.parametrize("variable", KEYS)
def test_certificate_and_key_may_be_one_file(variable: str, pem: PemPair, tmp_path: Path) -> None:
    both = written(tmp_path, Path(pem.cert).read_bytes() + Path(pem.key).read_bytes())

    assert loaded(with_file(variable, both, PemPair(both, both)))


@pytest.mark.parametrize("variable", KEYS)
def test_the_key_of_another_certificate_is_told_with_both_variables(
    variable: str, pem: PemPair, tmp_path: Path
) -> None:
    other = write_pem_pair(tmp_path, "other")

    told = fault(with_file(variable, other.key, pem))

    assert told.startswith(f"{variable.removesuffix('KEY')}CERT, {variable}: allowed: ")


def test_the_files_in_the_brokers_url_are_looked_at_too(pem: PemPair, tmp_path: Path) -> None:
    nonsense, url = written(tmp_path, b"no PEM"), "rediss://host/1"

    for files in (
        f"ssl_ca_certs={nonsense}",
        f"ssl_certfile={pem.cert}&ssl_keyfile={nonsense}",
        f"ssl_certfile={pem.cert}",
    ):
        assert fault({"BROKER_REDIS_URL": f"{url}?{files}"}).startswith("BROKER_REDIS_URL: allowed: ")
    for files in (f"ssl_ca_certs={pem.cert}", f"ssl_certfile={pem.cert}&ssl_keyfile={pem.key}"):
        assert loaded({"BROKER_REDIS_URL": f"{url}?{files}"})


def test_the_brokers_redis_is_shown_the_caches_files(pem: PemPair) -> None:
    files = {"REDIS_SSL_CA": pem.cert, "REDIS_SSL_CERT": pem.cert, "REDIS_SSL_KEY": pem.key}

    parts = parse_url(loaded({"REDIS_SSL": "true", **files}).broker_redis_url)

    assert (parts["ssl_ca_certs"], parts["ssl_certfile"], parts["ssl_keyfile"]) == (pem.cert, pem.cert, pem.key)
