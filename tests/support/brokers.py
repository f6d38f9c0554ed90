"""Real brokers for tests: Mosquitto and the embedded rumqttd behind one synchronous handle."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pytest
import trustme

from bridge.mqtt import rumqttd
from tests.support.real import require_tool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT = 10.0
MAX_PAYLOAD = 1 << 20


class BrokerDidNotStartError(RuntimeError):
    """The child died or did not answer; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for 127.0.0.1 and localhost."""

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        directory.mkdir(parents=True, exist_ok=True)
        files = cls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
        authority = trustme.CA()
        issued = authority.issue_cert(HOST, "localhost")
        authority.cert_pem.write_to_path(str(files.ca))
        files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(files.key))
        return files


class RunningBroker:
    """A broker in a child process. `port` and `url` are for MQTT 5, `port311` and `url311` for 3.1.1.

    As a context manager it stops the broker at the end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        port: int,
        port311: int | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.port311 = port if port311 is None else port311
        self.log = directory / f"{name}.log"
        self._command = command
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self._scheme}://{HOST}:{self.port}"

    @property
    def url311(self) -> str:
        return f"{self._scheme}://{HOST}:{self.port311}"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def _scheme(self) -> str:
        return "mqtt" if self._tls is None else "mqtts"

    def start(self) -> Self:
        """Starts it, again on the same ports if it ran before, and returns once it answers."""
        assert self._process is None, f"{self.name} is running"
        for port in {self.port, self.port311}:
            _require_free(self.name, port)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not all(self._answers(port) for port in {self.port, self.port311}):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise BrokerDidNotStartError(f"{self.name}: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.002)
        return self

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, so that Mosquitto saves what it is configured to keep; nothing if it does not run."""
        self._end(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipe and waits
            process.send_signal(how)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()

    def _answers(self, port: int) -> bool:
        connect = rumqttd.probe(4 if self.port != self.port311 == port else 5, f"_ready-{secrets.token_hex(4)}")
        try:
            with socket.create_connection((HOST, port), timeout=1) as plain:
                if self._tls is not None:
                    context = ssl.create_default_context(cafile=self._tls.ca)
                    with context.wrap_socket(plain, server_hostname=HOST) as sock:
                        return _connack(sock, connect)
                return _connack(plain, connect)
        except OSError:
            return False


def _connack(sock: socket.socket, connect: bytes) -> bool:
    sock.sendall(connect)
    return sock.recv(2)[:1] == b"\x20"  # a refusal for want of a password is an answer too


def _require_free(name: str, port: int) -> None:
    """Else another broker's CONNACK would be taken for this one's."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError as error:
            raise BrokerDidNotStartError(f"{name}: port {port}: {error.strerror}") from error


def free_port() -> int:
    """A port nobody listens on, from below Linux' ephemeral range so that no outgoing connection takes it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            return port


def start_mosquitto(
    directory: Path,
    *,
    port: int | None = None,
    tls: TlsFiles | None = None,
    password: tuple[str, str] | None = None,
    acl: str | None = None,
    persistence: bool = False,
    extra: str = "",
) -> RunningBroker:
    """A Mosquitto with one listener on loopback; anonymous unless a user and password are given.

    Args:
        directory: its configuration, log and persistence.
        port: where to listen; a free port if not given.
        tls: speak TLS with these files.
        password: user and password, then required.
        acl: text of the ACL file.
        persistence: keep sessions and messages on disk (see `extra` for autosave_on_changes).
        extra: more lines of configuration.
    """
    listen = free_port() if port is None else port
    directory.mkdir(parents=True, exist_ok=True)
    lines = [
        f"listener {listen} {HOST}",
        f"allow_anonymous {'false' if password else 'true'}",
        f"persistence {'true' if persistence else 'false'}",
        f"persistence_location {directory}/",
        "log_dest stderr",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it becomes user mosquitto, who cannot read a test's directory
    if tls is not None:
        lines += [f"cafile {tls.ca}", f"certfile {tls.cert}", f"keyfile {tls.key}"]
    if password is not None:
        lines.append(f"password_file {make_passwords(directory / 'passwords', password)}")
    if acl is not None:
        (directory / "acl").write_text(acl)
        lines.append(f"acl_file {directory / 'acl'}")
    config = directory / "mosquitto.conf"
    config.write_text("\n".join([*lines, extra, ""]))
    return run_mosquitto(config, port=listen, tls=tls)


def run_mosquitto(config: Path, *, port: int, tls: TlsFiles | None = None) -> RunningBroker:
    """A Mosquitto with a configuration of the caller's that listens on `port`, with TLS if `tls` is given."""
    command = [require_tool("mosquitto"), "-c", str(config)]
    return RunningBroker("mosquitto", command, config.parent, port=port, tls=tls).start()


def make_passwords(path: Path, *users: tuple[str, str]) -> Path:
    """A password file made by mosquitto_passwd."""
    tool = require_tool("mosquitto_passwd")
    path.touch(mode=0o600)
    for user, password in users:
        subprocess.run([tool, "-b", str(path), user, password], check=True, capture_output=True, timeout=10)
    return path


def start_embedded(directory: Path) -> RunningBroker:
    """rumqttd as the embedded broker configures and runs it, without its watchdog: a killed one stays dead."""
    pytest.importorskip("iotcore")
    directory.mkdir(parents=True, exist_ok=True)
    port, port311 = free_port(), free_port()
    config = directory / rumqttd.CONFIG_NAME
    config.write_text(rumqttd.config_toml(HOST, port311, port, MAX_PAYLOAD))
    return RunningBroker("embedded", rumqttd.command(config), directory, port=port, port311=port311).start()
