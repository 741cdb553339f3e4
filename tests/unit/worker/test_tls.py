"""What a failed TLS connection complains of, and the variable to look at."""

from __future__ import annotations

import pytest

from worker.tls import tls_trouble

TROUBLES = [
    (
        "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)",
        "REDIS_SSL and REDIS_SSL_CERT",
    ),
    (
        "TLS/SSL connection has been closed (EOF) (_ssl.c:992)",
        "REDIS_SSL and REDIS_SSL_CERT",
    ),  # the same, by Python 3.11.2
    ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "REDIS_SSL"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer", "REDIS_SSL_CA"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch", "REDIS_HOST"),
    ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "REDIS_SSL_CERT"),
    ("[X509: KEY_VALUES_MISMATCH] key values mismatch", "REDIS_SSL_KEY"),
    (ConnectionResetError(104, "Connection reset by peer"), "REDIS_SSL"),
]


@pytest.mark.parametrize(("error", "variable"), TROUBLES)
def test_what_both_sides_do_not_agree_on_names_its_variable(error: Exception | str, variable: str) -> None:
    assert variable in tls_trouble(error, "REDIS").rpartition(": see ")[2]


def test_what_is_no_trouble_with_tls_is_told_by_others() -> None:
    assert tls_trouble("WRONGPASS invalid username-password pair", "REDIS") == ""
