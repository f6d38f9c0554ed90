"""Fixtures for every suite: real brokers, stopped at the end whatever the test did, and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.brokers import RunningBroker, TlsFiles, start_embedded, start_mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[RunningBroker]:
    """A fresh anonymous Mosquitto: 3.1.1 and 5 on one port."""
    with start_mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[RunningBroker]:
    """A fresh rumqttd as the embedded broker runs it: `url` for MQTT 5, `url311` for 3.1.1."""
    with start_embedded(tmp_path / "embedded") as broker:
        yield broker


@pytest.fixture(params=[pytest.param("mosquitto", marks=pytest.mark.real), "embedded"])
def broker(request: pytest.FixtureRequest) -> RunningBroker:
    """Each broker in turn: what a behavioural suite runs against."""
    running = request.getfixturevalue(request.param)
    assert isinstance(running, RunningBroker)
    return running


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for 127.0.0.1 and localhost, and the CA that signed it."""
    return TlsFiles.make(tmp_path_factory.mktemp("tls"))
