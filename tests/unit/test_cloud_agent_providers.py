"""Which execution provider a cloud agent takes, and with which options; the GPUs are claimed, not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import ConfigError
from bridge.runtime import load, ort
from bridge.runtime.fake import FakeEngine
from cloud_agent import config
from cloud_agent.engines import onnx

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Manifest, Variant
    from bridge.runtime.providers import Choice

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
CUDA_DEFAULT = {"cudnn_conv_algo_search": "HEURISTIC"}


class Machine:
    """An ONNX Runtime with GPUs, some of which do not load."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, broken: tuple[str, ...] = ()) -> None:
        self.broken = broken
        self.stacks: list[list[tuple[str, dict[str, str]]]] = []
        monkeypatch.setattr(ort, "providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(load, "OnnxEngine", self.open)

    def open(self, manifest: Manifest, variant: Variant, *, choice: Choice, max_batch: int, **_: Any) -> FakeEngine:
        if choice.provider.ort in self.broken:
            raise ConfigError(f"{choice.provider.ort} did not load")
        self.stacks.append(choice.stack)
        engine = FakeEngine(model=manifest.name, variant=variant.name, max_batch=max_batch)
        engine.provider = choice.provider.ort
        return engine


def start(tmp_path: Path, engine: str) -> str:
    """The provider that serves, by a file with this section `[engine]`."""
    file = tmp_path / "cloud_agent.toml"
    file.write_text(f'[cloud]\nid = "gpu-1"\nurl = "mqtt://127.0.0.1"\n[engine]\n{engine}\n')
    served = onnx.load(config.load(file).engine)
    served.close()
    (provider,) = {model.provider for model in served.served.values()}
    return provider


def test_auto_takes_the_best_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch)
    assert start(tmp_path, "") == TENSORRT
    assert machine.stacks[0] == [(TENSORRT, {}), (CUDA, CUDA_DEFAULT), (CPU, {})]


def test_auto_passes_over_what_does_not_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Machine(monkeypatch, broken=(TENSORRT,))
    assert start(tmp_path, "require_accelerator = true") == CUDA
    assert f"{TENSORRT} did not load" in caplog.text
    Machine(monkeypatch, broken=(TENSORRT, CUDA))
    assert start(tmp_path, "") == CPU
    with pytest.raises(ConfigError, match=r"no provider loads \(require_accelerator is set\)"):
        start(tmp_path, "require_accelerator = true")


def test_cuda_runs_with_the_owner_s_options_over_the_product_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch)
    options = 'options = { device_id = "1", gpu_mem_limit = "4294967296", cudnn_conv_algo_search = "DEFAULT" }'
    assert start(tmp_path, f'provider = "cuda"\n{options}') == CUDA
    expected = {"cudnn_conv_algo_search": "DEFAULT", "device_id": "1", "gpu_mem_limit": "4294967296"}
    assert machine.stacks[0] == [(CUDA, expected), (CPU, {})]


def test_tensorrt_s_options_are_its_own_but_both_use_one_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch)
    options = 'options = { device_id = "2", trt_fp16_enable = "1", trt_engine_cache_enable = "1" }'
    assert start(tmp_path, f'provider = "tensorrt"\n{options}') == TENSORRT
    assert machine.stacks[0] == [
        (TENSORRT, {"device_id": "2", "trt_fp16_enable": "1", "trt_engine_cache_enable": "1"}),
        (CUDA, {**CUDA_DEFAULT, "device_id": "2"}),
        (CPU, {}),
    ]


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ('provider = "cuda"\noptions = { device_id = 1 }', "engine.options"),
        ('options = { device_id = "1" }', "name it instead"),
        ('provider = "gpu"', "'gpu' is not one of"),
        ('provider = "openvino"', "openvino .OpenVINOExecutionProvider. is not in"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, words: str
) -> None:
    Machine(monkeypatch)
    with pytest.raises(ConfigError, match=words):
        start(tmp_path, engine)


def test_a_named_provider_that_does_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Machine(monkeypatch, broken=(CUDA,))
    with pytest.raises(ConfigError, match=f"{CUDA} did not load"):
        start(tmp_path, 'provider = "cuda"')
