"""Settings and command line: what is taken, and in which words the rest is refused."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from bridge.errors import ConfigError, ModelError
from cloud_agent import cli, config
from cloud_agent.engines import onnx
from cloud_agent.presence import Presence

if TYPE_CHECKING:
    from tests.support.brokers import TlsFiles

SMALLEST = """
[cloud]
id = "gpu-1"
url = "mqtt://127.0.0.1:1883"
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "cloud_agent.toml"
    file.write_text(text)
    return file


def test_the_contract_s_smallest_file(tmp_path: Path) -> None:
    found = config.load(write(tmp_path, SMALLEST))
    assert (found.cloud.id, found.cloud.group) == ("gpu-1", "cloud-agents")
    endpoint = config.endpoint(found.cloud, origin="here")
    assert (str(endpoint), endpoint.tls, endpoint.password) == ("mqtt://127.0.0.1:1883", None, None)


def test_the_example_file_shows_every_key_and_works_uncommented(tmp_path: Path) -> None:
    example = Path("config/cloud_agent.toml")
    assert config.load(example).cloud.id == "gpu-1"
    lines = [line.removeprefix("# ") for line in example.read_text().splitlines()]
    text = "\n".join(line for line in lines if " = " in line or line.startswith("["))
    text = text.replace("mqtt:", "mqtts:").replace('"ca.pem"', '"ca.pem"\ncert = "c.pem"\nkey = "k.pem"')
    found = config.load(write(tmp_path, text))
    assert found.cloud.password_file == str(tmp_path / "gpu-1.password")
    assert found.engine.directory == str(tmp_path / "models")
    for section in (found.cloud, found.engine, found.limits):
        for key in section.__struct_fields__:
            assert f"{key} = " in text, key
    shown = msgspec.structs.replace(found.engine, directory=None, models=[], options={})
    assert shown == config.Engine()
    assert found.limits == config.Limits()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SMALLEST.replace("id", "idd"), "cloud.idd: unknown key; did you mean `id`?"),
        (SMALLEST.replace("gpu-1", "a/b"), "cloud.id: 'a/b' is no name"),
        (SMALLEST + 'group = "a+"', "cloud.group: 'a+' is no name"),
        (SMALLEST + 'cert = "a"', "cloud.key: missing"),
        (SMALLEST + 'key = "a"', "cloud.cert: missing"),
        (SMALLEST + 'password_file = "a"', "cloud.username: missing"),
        (SMALLEST + 'ca = "a"', "cloud.url: mqtt:// has no TLS"),
        (SMALLEST + "[limits]\nqueue = 0", "limits.queue: "),
        (SMALLEST + "[engine]\nprovider = 1", "engine.provider: "),
        ("", "cloud: missing"),
    ],
)
def test_a_bad_file_is_told_by_key(tmp_path: Path, text: str, key: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as why:
        config.load(file)
    assert str(why.value).startswith(f"{file}: {key}")


def test_password_and_tls_files_are_read(tmp_path: Path, tls_files: TlsFiles) -> None:
    (tmp_path / "secret").write_text("pass\nnot this\n")
    more = f'username = "u"\npassword_file = "secret"\nca = "{tls_files.ca}"'
    found = config.load(write(tmp_path, SMALLEST.replace("mqtt:", "mqtts:") + more))
    endpoint = config.endpoint(found.cloud, origin="here")
    assert (endpoint.username, endpoint.password, endpoint.tls is not None) == ("u", b"pass", True)


def test_an_endpoint_that_cannot_be_used_is_told_by_file_and_key() -> None:
    for cloud in (
        config.Cloud(id="a", url="http://x"),
        config.Cloud(id="a", url="mqtt://u:hunter2/3@x"),
        config.Cloud(id="a", url="mqtts://x", ca="/no/such.pem"),
        config.Cloud(id="a", url="mqtt://x", username="u", password_file="/no/such"),  # noqa: S106 # a path
    ):
        with pytest.raises(ConfigError, match=r"^c.toml: cloud") as why:
            config.endpoint(cloud, origin="c.toml")
        assert "hunter2" not in str(why.value)


@pytest.mark.parametrize(("host", "name"), [("-a b.c_", "a-b.c_"), ("___", "cloud"), ("x" * 90, "x" * 64)])
def test_without_a_file_the_machine_s_name_is_the_id(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert config.default().cloud.id == name


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[engine]\nrequire_accelerator = true", ["require_accelerator", "CPUExecutionProvider", "pip install"]),
        ('[engine]\nprovider = "cuda"', ["cuda", "CUDAExecutionProvider", "pip install"]),
        ('[engine]\nmodels = ["nonesuch"]', ["no model 'nonesuch'"]),
        ('[engine]\ndirectory = "."', ["no model for the cloud", "tiers.cloud"]),
        ("[engine]\nthread = 2", ["engine.thread", "did you mean `threads`"]),
    ],
)
def test_what_cannot_start_exits_2_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, words: list[str]
) -> None:
    assert cli.main(["run", "--config", str(write(tmp_path, SMALLEST + more))]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert all(word in said.err for word in words), said.err


def test_the_flag_requires_an_accelerator_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--require-accelerator"]) == 2
    assert "require_accelerator" in capsys.readouterr().err


def test_a_bad_model_is_passed_over_unless_it_was_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.toml").write_text("schema = 2")
    with pytest.raises(ModelError, match="no model for the cloud"), caplog.at_level(logging.WARNING):
        onnx.load(config.Engine(directory=str(tmp_path)))
    assert "passed over" in caplog.text
    with pytest.raises(ModelError, match=r"broken/model\.toml"):
        onnx.load(config.Engine(directory=str(tmp_path), models=["broken"]))


def test_presence_knows_its_own_words() -> None:
    one, other = Presence("gpu-1", {}), Presence("gpu-1", {})
    for payload in (one.online(1.0), one.offline(2.0, "stopped")):
        assert one.is_ours(payload) is True
        assert other.is_ours(payload) is False
    for payload in (b"", b"[]", b'{"online": true}', b'{"online": true, "instance": 7}'):
        assert one.is_ours(payload) is None
