"""The embedded broker: rumqttd (through PyPI `iotcore`) as a child process, for trying out and never for durability.

rumqttd keeps everything in memory, speaks one protocol a port, and one ill-behaved client can make a listener refuse
everybody while its port looks alive. So a watchdog asks both ports for a real CONNACK and replaces the child that no
longer gives one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import logging
import os
import socket
import subprocess
from typing import TYPE_CHECKING

from bridge.errors import ConfigError, LinkError, LocalProtocolError
from bridge.mqtt import rumqttd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

PROBE_INTERVAL = 2.0  # seconds between two health checks
PROBE_TIMEOUT = 1.0  # seconds a CONNACK may take
MISSES = 2  # checks in a row without an answer before the child is replaced
START_TIMEOUT = 10.0  # seconds until both listeners must answer

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound by default


class EmbeddedBroker:
    """rumqttd as a watched child process in a session of its own, so that Ctrl-C reaches only the bridge.

    Args:
        host: address or name to listen on; loopback unless the owner knows better, for there is no password.
        port: port for MQTT 3.1.1; 0 picks a free one at `start`.
        port5: port for MQTT 5; 0 picks a free one at `start`.
        directory: where its configuration and its last words (`rumqttd.log`) are written.
        max_payload: greatest payload in bytes that must pass.
        on_restart: called on the event loop with the reason after a dead or mute child was replaced.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 1883,
        port5: int = 1884,
        directory: Path,
        max_payload: int,
        on_restart: Callable[[str], None] | None = None,
    ) -> None:
        self._host = host
        self._address = host
        self._port = port
        self._port5 = port5
        self._directory = directory
        self._max_payload = max_payload
        self._on_restart = on_restart
        self._process: asyncio.subprocess.Process | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._unanswered = 0

    @property
    def url(self) -> str:
        """Where MQTT 3.1.1 clients of this machine connect."""
        return f"mqtt://{self._client_host()}:{self._port}"

    @property
    def url5(self) -> str:
        """Where MQTT 5 clients of this machine connect."""
        return f"mqtt://{self._client_host()}:{self._port5}"

    @property
    def pid(self) -> int | None:
        """Process id of the child, another one after a restart; None while none runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Starts the child and returns once both listeners have answered with a CONNACK.

        Raises:
            ConfigError: iotcore is not installed, or an address or port cannot be used.
            LinkError: the child died or gave no answer in time.
            LocalProtocolError: it was started before.
        """
        if self._watchdog is not None:
            raise LocalProtocolError("the embedded broker was already started")
        if importlib.util.find_spec("iotcore") is None:
            raise ConfigError(
                "the embedded broker needs the package iotcore: install edge-inference-bridge[embedded], "
                "or give [mqtt] url to use a broker of your own"
            )
        self._address = await _resolve(self._host)
        self._port = self._port or _free_port(self._address)
        self._port5 = self._port5 or _free_port(self._address)
        if self._port == self._port5:
            raise ConfigError(f"the embedded broker needs two ports, 3.1.1 and MQTT 5; both were given {self._port}")
        await self._launch()
        self._watchdog = asyncio.create_task(self._watch(), name="embedded-broker-watchdog")

    async def stop(self) -> None:
        """Ends the watchdog and the child; does nothing when there is none."""
        task, self._watchdog = self._watchdog, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._kill()

    def _client_host(self) -> str:
        host = _LOOPBACK.get(self._host, self._host)
        return f"[{host}]" if ":" in host else host

    async def _launch(self) -> None:
        for port in (self._port, self._port5):
            _bound(self._address, port).close()
        self._process = process = await self._spawn()
        up = False
        try:
            up = await self._comes_up(process)
        finally:
            if not up:
                await self._kill()
        if not up:
            raise LinkError(f"the embedded broker did not answer on {self.url} and {self.url5}{self._last_words()}")

    async def _spawn(self) -> asyncio.subprocess.Process:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            config = self._directory.resolve() / rumqttd.CONFIG_NAME
            config.write_text(rumqttd.config_toml(self._address, self._port, self._port5, self._max_payload))
            with (self._directory / rumqttd.LOG_NAME).open("wb") as last_words:
                return await asyncio.create_subprocess_exec(
                    *rumqttd.command(config),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=last_words,
                    start_new_session=True,
                    env=os.environ | {"RUST_BACKTRACE": "0"},  # a panic is one sentence in the log
                )
        except OSError as error:
            raise LinkError(f"the embedded broker cannot be started from {self._directory}: {error}") from error

    async def _comes_up(self, process: asyncio.subprocess.Process) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                while process.returncode is None:
                    if await self._healthy():
                        return process.returncode is None
                    await asyncio.sleep(0.01)
        return False

    async def _healthy(self) -> bool:
        host = _LOOPBACK.get(self._address, self._address)
        for version, port in ((5, self._port5), (4, self._port)):
            client_id = f"_health{version}-{self._unanswered}"
            if not await rumqttd.answers(host, port, version, client_id, PROBE_TIMEOUT):
                self._unanswered += 1
                return False
        return True

    async def _watch(self) -> None:
        while self._process is not None:
            why = await self._trouble(self._process)
            log.warning("embedded broker: %s; restarting it, what it held in memory is lost", why)
            await self._relaunch()
            log.warning("embedded broker: restarted as process %s", self.pid)
            if self._on_restart is not None:
                asyncio.get_running_loop().call_soon(self._on_restart, why)  # its bugs must not end the watchdog

    async def _trouble(self, process: asyncio.subprocess.Process) -> str:
        """Returns, with the reason, once the child is dead or has missed too many checks in a row."""
        misses = 0
        while misses < MISSES:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL):
                    code = await process.wait()
                return f"its process ended with code {code}{self._last_words()}"
            misses = 0 if await self._healthy() else misses + 1
        return f"it gave no CONNACK {MISSES} times in a row{self._last_words()}"

    async def _relaunch(self) -> None:
        while True:
            await self._kill()
            try:
                return await self._launch()
            except (ConfigError, LinkError) as error:
                log.error("embedded broker: cannot restart: %s; trying again in %g s", error, PROBE_INTERVAL)  # noqa: TRY400 - no trace: the sentence says it
            await asyncio.sleep(PROBE_INTERVAL)

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # it has nothing to save, and SIGTERM would not end one that is stopped
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _last_words(self) -> str:
        try:
            lines = (self._directory / rumqttd.LOG_NAME).read_text(errors="replace").split("\n")
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip() and not line.startswith("note:")]
        return f": {said[-1][:300]}" if said else ""


async def _resolve(host: str) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ConfigError(f"the embedded broker cannot listen on {host!r}: {error.strerror}") from error
    return str(found[0][4][0])


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as rumqttd does: old connections do not count
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        where = f"{address}:{port}"
        if error.errno == errno.EADDRINUSE:
            remedy = f'is another broker running there? Give [mqtt] url = "mqtt://{where}" to use it, or stop it'
            raise ConfigError(f"the embedded broker cannot listen on {where}, the port is in use: {remedy}") from error
        raise ConfigError(f"the embedded broker cannot listen on {where}: {error.strerror}") from error
    return sock


def _free_port(address: str) -> int:
    with _bound(address, 0) as sock:
        return int(sock.getsockname()[1])
