"""Choosing execution providers; the installed ONNX Runtime, which has only the CPU, is told to claim more."""

from __future__ import annotations

from collections import Counter

import pytest

from bridge.catalog import Catalog
from bridge.errors import ConfigError
from bridge.runtime import ort, providers
from bridge.runtime.load import load

CUDA, CPU, OPENVINO = "CUDAExecutionProvider", "CPUExecutionProvider", "OpenVINOExecutionProvider"


def claim(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(ort, "providers", lambda: list(names))


def test_the_table_knows_each_provider_once() -> None:
    assert len(providers.BY_NAME) == len({one.ort for one in providers.PROVIDERS}) == len(providers.PROVIDERS) == 8
    assert providers.PROVIDERS[-1].name == "cpu"


def test_the_cpu_is_always_there() -> None:
    assert "cpu" in [one.name for one in providers.available()]
    choice = providers.resolve("cpu")
    assert (choice.provider.ort, choice.accelerator) == (CPU, False)
    assert choice.stack == [(CPU, {})]


def test_auto_tries_accelerators_best_first_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, CPU, OPENVINO, CUDA, "TensorrtExecutionProvider", "AzureExecutionProvider")
    found = providers.candidates("auto")
    assert [one.provider.name for one in found] == ["tensorrt", "cuda", "cpu"]
    assert [name for name, _ in found[0].stack] == ["TensorrtExecutionProvider", CUDA, CPU]
    assert [one.provider.name for one in providers.candidates("auto", require_accelerator=True)] == ["tensorrt", "cuda"]
    assert providers.resolve("auto") == found[0]


def test_the_owners_options_go_over_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, OPENVINO, CPU)
    assert not providers.resolve("openvino").accelerator
    choice = providers.resolve("openvino", options={"device_type": "GPU.0"}, require_accelerator=True)
    assert choice.accelerator
    assert choice.stack[0] == (OPENVINO, {"device_type": "GPU.0"})
    with pytest.raises(ConfigError, match="name it instead"):
        providers.resolve("auto", options={"device_type": "GPU"})


def test_threads_are_the_providers_own_unless_the_owner_says(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, OPENVINO, CPU)
    openvino = providers.resolve("openvino")
    assert openvino.with_threads(2).options == {"device_type": "CPU", "num_of_threads": "2"}
    owner = providers.resolve("openvino", options={"num_of_threads": "1"})
    assert owner.with_threads(2).options["num_of_threads"] == "1"
    npu = providers.resolve("openvino", options={"device_type": "NPU"})
    assert npu.with_threads(2) == npu
    assert providers.resolve("cpu").with_threads(2) == providers.resolve("cpu")


@pytest.mark.parametrize("preference", ["auto", "cpu", "openvino"])
def test_requiring_an_accelerator_says_what_is_there_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch, preference: str
) -> None:
    claim(monkeypatch, CPU, OPENVINO)
    with pytest.raises(ConfigError, match="require_accelerator") as caught:
        providers.resolve(preference, require_accelerator=True)
    for word in (CPU, OPENVINO, "edge-inference-bridge[gpu]", ort.version()):
        assert word in str(caught.value)


def test_a_provider_that_is_not_there_or_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, CPU)
    with pytest.raises(ConfigError, match=r"cuda \(CUDAExecutionProvider\) is not in .*edge-inference-bridge\[gpu\]"):
        providers.resolve("cuda")
    with pytest.raises(ConfigError, match=r"'gpu' is not one of \"auto\", tensorrt, cuda"):
        providers.resolve("gpu")


def test_a_provider_that_runs_no_node_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "placement", lambda _session: Counter({"OtherExecutionProvider": 3}))
    manifest = Catalog()["activity"]
    with pytest.raises(ConfigError, match=r"cpu .* can run none of .*small-int8\.onnx's 3 nodes"):
        load(manifest, manifest.variant("small-int8"))


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif(CUDA in ort.providers(), reason="this ONNX Runtime may have a GPU")
class TestFallingBackInSilence:
    """ONNX Runtime itself takes the CPU when a provider cannot load."""

    def test_is_an_error_for_a_provider_that_was_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        claim(monkeypatch, CUDA, CPU)
        manifest = Catalog()["activity"]
        with pytest.raises(ConfigError, match=r"cuda \(CUDAExecutionProvider\) did not load"):
            load(manifest, manifest.variant("small-int8"), provider="cuda")

    def test_is_told_and_passed_over_under_auto(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        claim(monkeypatch, CUDA, CPU)
        manifest = Catalog()["activity"]
        engine = load(manifest, manifest.variant("small-int8"), provider="auto")
        assert engine.provider == CPU
        assert len(engine.skipped) == 1
        assert "cuda" in engine.skipped[0]
        assert engine.skipped[0] in caplog.text

    def test_is_an_error_where_an_accelerator_is_required(self, monkeypatch: pytest.MonkeyPatch) -> None:
        claim(monkeypatch, CUDA, CPU)
        manifest = Catalog()["activity"]
        with pytest.raises(ConfigError, match=r"no provider loads \(require_accelerator is set\): .*cuda"):
            load(manifest, manifest.variant("small-int8"), provider="auto", require_accelerator=True)
