"""`models split` on the shipped model: halves checked, bytes and times measured, what cannot be trusted left out."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from bridge.catalog import Catalog
from bridge.cli import main
from bridge.errors import ConfigError, ModelError
from bridge.runtime import recordings
from bridge.runtime.split_wire import PACKINGS, pack, unpack
from tests.support.onnx_extra import with_onnx

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from bridge.catalog import Manifest
    from bridge.runtime.recordings import Recording


@pytest.fixture
def split() -> ModuleType:
    return with_onnx("bridge.runtime.split")


@pytest.fixture
def manifest() -> Manifest:
    return Catalog()["activity"]


@pytest.fixture
def some(manifest: Manifest) -> list[Recording]:
    return recordings.read(manifest.folder / "sample", manifest)[::7]


def measure(split: ModuleType, manifest: Manifest, variant: str, some: list[Recording]) -> Any:
    return split.split(manifest, manifest.variant(variant), some, seconds=0.0)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_tensor_comes_back_as_near_as_its_packing_allows(packing: Any) -> None:
    tensor = np.random.default_rng(0).standard_normal((1, 8, 16)).astype(np.float32)
    back = unpack(pack(tensor, packing), tensor)
    assert (back.shape, back.dtype) == (tensor.shape, tensor.dtype)
    half_a_step = {"int8": float(np.ptp(tensor)) / 508, "float16": 2e-3, "float32": 0.0}[packing]
    assert np.abs(back - tensor).max() <= half_a_step * 1.001
    assert len(pack(tensor, packing)) < 100 + tensor.size * {"int8": 1, "float16": 2, "float32": 4}[packing]


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_integers_come_back_as_they_were(kind: str) -> None:
    least = np.iinfo(kind).min
    tensor = np.arange(least, least + 256).astype(kind).reshape(1, 16, 16)
    back = unpack(pack(tensor, "int8"), tensor)
    assert back.dtype == tensor.dtype
    np.testing.assert_array_equal(back, tensor)


def test_channels_of_different_size_have_a_scale_each() -> None:
    tensor = np.array([[1e-3, 1e3], [2e-3, 2e3]], np.float32)
    np.testing.assert_allclose(unpack(pack(tensor, "int8", 2), tensor), tensor, rtol=1e-2)
    assert unpack(pack(tensor, "int8"), tensor)[0, 0] == unpack(pack(tensor, "int8"), tensor)[1, 0]


@pytest.mark.parametrize("variant", ["small-int8", "small-fp32"])
def test_the_halves_answer_as_the_whole_does(
    variant: str, split: ModuleType, manifest: Manifest, some: list[Recording]
) -> None:
    found = measure(split, manifest, variant, some)
    assert [one.values for one in found.cuts] == [1024, 512, 256, 16]
    assert not found.failures
    assert found.windows == len(recordings.windows(some, manifest)[1])
    for one in (found.input, *found.cuts):
        assert one.difference < 1e-3
        assert one.packing == "int8"
        assert one.values < one.size < one.values + 200
        assert 4 * one.values < one.float_size < 4 * one.values + 100
        assert one.int8_agreement >= 0.98
        assert abs(one.accuracy - found.accuracy) <= 0.02
        assert min(one.head, one.tail, one.write, one.read) > 0.0
        if one.kind == "uint8":
            assert one.int8_agreement == 1.0
    assert found.whole == found.input.tail


def test_halves_that_answer_otherwise_are_not_used(
    split: ModuleType, manifest: Manifest, some: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(self: Any, point: Any, head: Path, tail: Path) -> None:
        onnx = importlib.import_module("onnx")
        write(self, point, head, tail)
        model = onnx.load(str(tail))
        bias = next(one for one in model.graph.initializer if one.name == "head.bias")
        wrong = onnx.numpy_helper.to_array(bias) + np.float32(0.1)
        bias.CopyFrom(onnx.numpy_helper.from_array(wrong, "head.bias"))
        onnx.save(model, str(tail))

    write = split.Graph.write
    monkeypatch.setattr(split.Graph, "write", damaged)
    found = measure(split, manifest, "small-fp32", some)
    assert [one.packing for one in found.cuts] == [None] * 4
    assert all(one.difference == pytest.approx(0.1, abs=1e-3) for one in found.cuts)
    assert found.input.packing == "int8"


def test_a_packing_that_costs_too_much_is_passed_over(
    split: ModuleType, manifest: Manifest, some: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = split.unpack

    def unpack_badly(payload: bytes, like: Any) -> Any:
        return original(payload, like) * (0.0 if len(payload) < like.size * 2 else 1.0)

    monkeypatch.setattr(split, "unpack", unpack_badly)
    found = measure(split, manifest, "small-fp32", some)
    big = [one for one in (found.input, *found.cuts) if one.values > 100]
    assert [one.packing for one in big] == ["float16"] * 4
    assert max(one.int8_agreement for one in big) < 0.9


def test_a_cut_that_cannot_be_taken_apart_is_told(
    split: ModuleType, manifest: Manifest, some: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any, point: Any, *__: Any) -> None:
        raise ModelError(f"{point.tensor}: no way")

    monkeypatch.setattr(split.Graph, "write", refuse)
    found = measure(split, manifest, "small-fp32", some)
    assert found.cuts == ()
    assert len(found.failures) == 4
    assert found.failures[-1] == "/ReduceMean_output_0: no way"


def test_a_graph_that_takes_no_window_alone_is_refused(
    split: ModuleType, manifest: Manifest, some: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split.graph, "check", lambda *_: 4)
    with pytest.raises(ModelError, match="does not take a window alone"):
        measure(split, manifest, "small-fp32", some)


def test_a_half_that_fails_is_told_as_ours(split: ModuleType, manifest: Manifest) -> None:
    session = split._open(manifest.folder / "small-fp32.onnx")
    run = split._runner(session, "window", "logits")
    with pytest.raises(ModelError, match=r"window → logits: .*invalid dimensions"):
        run(np.zeros((1, 2, 6), np.float32))


def test_too_few_windows_are_refused(split: ModuleType, manifest: Manifest, some: list[Recording]) -> None:
    short = [msgspec.structs.replace(some[0], values=some[0].values[:256])]
    with pytest.raises(ConfigError, match="activity: 3 windows to measure on, 50 are needed"):
        measure(split, manifest, "small-fp32", short)


@pytest.mark.usefixtures("split")
def test_the_command_prints_cuts_links_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["models", "split", "activity", "--variant", "small-int8", "--seconds", "0.01"]
    assert main([*command, "--bandwidth", "64000", "1e9", "--rtt", "0", "10"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("activity/small-int8: 1145 labelled windows, accuracy 89.69%, 4 cuts\n")
    assert "the gateway is this machine, the cloud computes 10 times as fast" in printed
    assert [line.split()[:4] for line in printed.splitlines() if "bit/s" in line] == [
        [*rate.split(), trip, "ms"] for rate in ("64 kbit/s", "1 Gbit/s") for trip in ("0", "10")
    ]
    assert "of these 4 links" in printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "no model 'nowhere'"),
        (["activity", "--variant", "nowhere"], "no variant 'nowhere'"),
        (["activity", "--bandwidth", "1e6", "0"], "--bandwidth: 0 is not a number above 0"),
        (["activity", "--bandwidth", "nan"], "--bandwidth: nan is not a number above 0"),
        (["activity", "--rtt", "-1"], "--rtt: -1 is not a number from 0"),
        (["activity", "--rtt", "inf"], "--rtt: inf is not a number from 0"),
        (["activity", "--cloud-speed", "0"], "--cloud-speed: 0 is not a number above 0"),
        (["activity", "--gateway-slower", "-2"], "--gateway-slower: -2 is not a number above 0"),
        (["activity", "--seconds", "0"], "--seconds: 0 is not a number above 0"),
        (["activity", "--recordings", "nowhere"], "nowhere/recordings.csv"),
    ],
)
@pytest.mark.usefixtures("split")
def test_what_cannot_be_used_is_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "split", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_without_onnx_the_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in ("split", "split_graph"):
        monkeypatch.delitem(sys.modules, f"bridge.runtime.{name}", raising=False)
        monkeypatch.delattr(f"bridge.runtime.{name}", raising=False)
    assert main(["models", "split", "activity"]) == 2
    assert "pip install 'edge-inference-bridge[quantize]'" in capsys.readouterr().err
