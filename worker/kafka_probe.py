"""Why the brokers do not let us in: each step of a connection is taken by itself, and the one that fails names its variable.

kafka-python says `NoBrokersAvailable` for a broker that is down, a certificate it does not trust and a wrong password alike, and
nothing at all for a port that wants an account which it does not have. So before it connects this module goes the same way with
a socket of its own: TCP, TLS, the account, one question. What it tells holds neither the account's name nor its password.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import closing

from kafka.scram import ScramClient

from worker.settings import Settings
from worker.tls import tls_context, tls_trouble

#: How long (s) each step with a broker may take.
STEP_TIMEOUT_S = 5.0

#: Kafka's requests by number (https://kafka.apache.org/protocol), in versions that every broker since 1.0 understands.
_METADATA, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = (3, 1), (17, 1), (36, 0)

#: What a broker of any Kafka sends at most in answer to these; other protocols' bytes read as a length are far beyond it.
_LONGEST_ANSWER_BYTES = 10_000_000


class _Refused(Exception):
    """A step that a broker does not take with us; the text names what to look at."""


def why_refused(settings: Settings) -> str:
    """Why no broker of `KAFKA_BROKERS` lets us in, the first that says something first; empty if one does."""
    reasons = []
    for address in settings.kafka_brokers:
        try:
            _try(address, settings)
        except _Refused as refused:
            reasons.append(f"{address} {refused}")
        except (OSError, ValueError) as error:
            reasons.append(f"{address} cannot be reached ({error}): see KAFKA_BROKERS")
        else:
            return ""
    return "; ".join(reasons)


def _try(address: str, settings: Settings) -> None:
    """Go all the way in. Raises `_Refused`, or OSError when there is nobody at the address."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    has_tls = settings.kafka_security_protocol.endswith("ssl")
    connection = socket.create_connection((host, int(port)), STEP_TIMEOUT_S)
    with closing(_secured(connection, host, settings) if has_tls else connection) as line:
        try:
            if settings.kafka_security_protocol.startswith("sasl"):
                _prove_account(line, settings)
            _ask(line, _METADATA, struct.pack(">i", 0))
        except ssl.SSLError as error:  # TLS 1.3 tells of a certificate of ours that it lacks in its first answer
            trouble = tls_trouble(error, "KAFKA") or f"{error}: see KAFKA_SECURITY_PROTOCOL"
            raise _Refused(f"ends TLS: {trouble}") from None
        except TimeoutError:
            raise _Refused("does not answer") from None
        except (OSError, ValueError):  # or it is on its way down, and then the next attempt finds nobody
            protocol = settings.kafka_security_protocol
            raise _Refused(f"does not speak {protocol} on this port: see KAFKA_SECURITY_PROTOCOL") from None


def _secured(connection: socket.socket, host: str, settings: Settings) -> ssl.SSLSocket:
    try:
        context = tls_context(settings.kafka_ssl_ca, settings.kafka_ssl_cert, settings.kafka_ssl_key)
        return context.wrap_socket(connection, server_hostname=host)
    except TimeoutError:
        connection.close()
        raise _Refused("does not answer; does it speak TLS? see KAFKA_SECURITY_PROTOCOL") from None
    except OSError as error:
        connection.close()
        trouble = tls_trouble(error, "KAFKA") or f"{error}: see KAFKA_SECURITY_PROTOCOL"
        raise _Refused(f"and we do not agree on TLS: {trouble}") from None


def _prove_account(line: socket.socket, settings: Settings) -> None:
    mechanism = settings.kafka_sasl_mechanism.upper()
    answer = _ask(line, _SASL_HANDSHAKE, _text(mechanism))
    if _error_code(answer):
        raise _Refused(f"does not take {mechanism}: see KAFKA_SASL_MECHANISM")
    name, password = settings.kafka_sasl_username, settings.kafka_sasl_password
    if mechanism == "PLAIN":
        _authenticate(line, "\0".join((name, name, password)))
        return
    client = ScramClient(name, password, mechanism)
    client.process_server_first_message(_authenticate(line, client.first_message()))
    _authenticate(line, client.final_message())


def _authenticate(line: socket.socket, token: str) -> str:
    """One exchange of the mechanism; the broker's token."""
    data = token.encode()
    answer = _ask(line, _SASL_AUTHENTICATE, struct.pack(">i", len(data)) + data)
    if _error_code(answer):
        raise _Refused("refuses the account: see KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
    message_length = max(0, struct.unpack_from(">h", answer, 2)[0])
    at = 4 + message_length
    length = max(0, struct.unpack_from(">i", answer, at)[0])
    return answer[at + 4 : at + 4 + length].decode()


def _ask(line: socket.socket, request: tuple[int, int], body: bytes) -> bytes:
    """The body of the answer. Raises OSError or ValueError if what answers is no Kafka, or no more there."""
    message = struct.pack(">hhi", *request, 1) + _text("probe") + body
    line.sendall(struct.pack(">i", len(message)) + message)
    (length,) = struct.unpack(">i", _read(line, 4))
    if not 4 <= length <= _LONGEST_ANSWER_BYTES:
        raise ValueError("no answer of Kafka's")
    return _read(line, length)[4:]


def _read(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = line.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        data += part
    return data


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def _error_code(answer: bytes) -> int:
    return int(struct.unpack_from(">h", answer)[0])
