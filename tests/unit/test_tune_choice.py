"""The remembered choice: taken while it holds, and told why when it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bridge.catalog import Catalog
from bridge.errors import ConfigError, StoreError
from bridge.runtime import ort, remembered
from bridge.runtime.choice import choose, open_engine
from bridge.runtime.decide import Point, Setup
from bridge.runtime.machine import Machine, cores, cpu_name, lanes, this_machine
from bridge.runtime.tune import Tuning

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.catalog import Manifest
    from bridge.messages import Tier

HERE = Machine("a processor", 4, "1.31.1", ("CPUExecutionProvider",))


@pytest.fixture
def manifest() -> Manifest:
    return Catalog()["activity"]


def tuning(tier: Tier = "bridge", *, threads: int = 2, variant: str = "small-fp32") -> Tuning:
    point = Point(Setup(variant, variant.split("-")[1], "cpu", threads=threads, spinning=True), 16)
    size = variant.split("-", maxsplit=1)[0]
    return Tuning(
        model="activity",
        tier=tier,
        budget=0.01,
        accuracies={(f"{size}-fp32", "cpu"): 0.9, (f"{size}-int8", "cpu"): 0.89},
        windows=100,
        seconds={point: 5e-6},
        failures=(),
        chosen=point,
    )


def keep(state: Path, manifest: Manifest, found: Tuning | None = None) -> Path:
    return remembered.remember(found or tuning(), manifest, state, t=1.0, machine=HERE)


def without_variant(manifest: Manifest, name: str) -> Manifest:
    return msgspec.structs.replace(manifest, variants=tuple(one for one in manifest.variants if one.name != name))


def changed_variant(manifest: Manifest, name: str, **fields: Any) -> Manifest:
    variants = (msgspec.structs.replace(one, **fields) if one.name == name else one for one in manifest.variants)
    return msgspec.structs.replace(manifest, variants=tuple(variants))


def test_without_a_choice_the_manifest_decides(tmp_path: Path, manifest: Manifest) -> None:
    chosen = choose(manifest, "bridge", tmp_path / "state", machine=HERE)
    assert chosen[:6] == (manifest.variant("small-int8"), "cpu", 1, False, 64, {})
    assert not chosen.tuned
    assert "inference-bridge models tune activity" in chosen.why
    assert not (tmp_path / "state").exists()
    cloud = choose(manifest, "cloud", tmp_path, provider="auto", threads=3, machine=HERE)
    assert cloud[:3] == (manifest.variant("big-int8"), "auto", 3)


def test_a_choice_is_taken_up(tmp_path: Path, manifest: Manifest) -> None:
    file = keep(tmp_path / "state", manifest)
    assert file == tmp_path / "state/tuned.json"
    chosen = choose(manifest, "bridge", file.parent, machine=HERE)
    assert chosen[:7] == (manifest.variant("small-fp32"), "cpu", 2, True, 16, {}, True)
    assert chosen.why == "tuned here: 5.0 µs a window, accuracy 90.0%"


def test_each_model_and_tier_has_one(tmp_path: Path, manifest: Manifest) -> None:
    keep(tmp_path, manifest)
    keep(tmp_path, manifest, tuning("cloud", variant="big-fp32"))
    file = keep(tmp_path, manifest, tuning(threads=1))
    assert choose(manifest, "bridge", tmp_path, machine=HERE).threads == 1
    assert choose(manifest, "cloud", tmp_path, machine=HERE).variant.name == "big-fp32"
    assert len(json.loads(file.read_bytes())) == 2
    assert [one.name for one in tmp_path.iterdir()] == ["tuned.json"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cpu": "another"}, "the processor was a processor, is another"),
        ({"cores": 2}, "the number of cores was 4, is 2"),
        ({"runtime": "1.32.0"}, "ONNX Runtime was 1.31.1, is 1.32.0"),
        ({"providers": ("X", "Y")}, "its providers was CPUExecutionProvider, is X, Y"),
    ],
)
def test_another_machine_or_runtime_ends_it(
    tmp_path: Path, manifest: Manifest, fields: dict[str, Any], told: str
) -> None:
    keep(tmp_path, manifest)
    chosen = choose(manifest, "bridge", tmp_path, machine=msgspec.structs.replace(HERE, **fields))
    assert (chosen.tuned, chosen.variant.name) == (False, "small-int8")
    assert chosen.why == f"the tuned choice is not used: {told}; run: inference-bridge models tune activity"


def test_another_model_ends_it(tmp_path: Path, manifest: Manifest) -> None:
    keep(tmp_path, manifest)
    new = msgspec.structs.replace(manifest.variant("small-int8"), name="small-int4")
    cases = {
        "the model was version 1.0.0, is 2.0.0": msgspec.structs.replace(manifest, version="2.0.0"),
        "variant small-fp32 is another file": changed_variant(manifest, "small-fp32", sha256="0" * 64),
        "variant small-fp32 is gone": without_variant(manifest, "small-fp32"),
        "variant small-int4 is new": msgspec.structs.replace(manifest, variants=(*manifest.variants, new)),
        "the budget was 0.01, is 0.5": msgspec.structs.replace(
            manifest, budget=msgspec.structs.replace(manifest.budget, accuracy=0.5)
        ),
    }
    for told, now in cases.items():
        chosen = choose(now, "bridge", tmp_path, machine=HERE)
        assert (chosen.tuned, chosen.variant.name) == (False, "small-int8")
        assert told in chosen.why
    assert choose(changed_variant(manifest, "big-int8", sha256="0" * 64), "bridge", tmp_path, machine=HERE).tuned


def test_the_owners_settings_go_first(tmp_path: Path, manifest: Manifest) -> None:
    keep(tmp_path, manifest)
    for settings, told in (
        ({"provider": "openvino"}, "it is for provider cpu, the settings say openvino"),
        ({"threads": 1}, "it is for 2 threads, the settings say 1"),
        ({"options": {"cpu": {"x": "1"}}}, "provider cpu had other options"),
    ):
        chosen = choose(manifest, "bridge", tmp_path, machine=HERE, **settings)
        assert (chosen.tuned, chosen.variant.name) == (False, "small-int8")
        assert chosen.why == f"the tuned choice is not used: {told}"
    assert choose(manifest, "bridge", tmp_path, machine=HERE, provider="cpu", threads=2).tuned


@pytest.mark.parametrize("text", ["", "{", "[{}]", '{"a": 1}', "\xff", "null"])
def test_a_file_that_cannot_be_read_counts_as_none_and_is_told(tmp_path: Path, manifest: Manifest, text: str) -> None:
    file = tmp_path / "tuned.json"
    file.write_bytes(text.encode("latin-1"))
    chosen = choose(manifest, "bridge", tmp_path, machine=HERE)
    assert not chosen.tuned
    assert chosen.why.startswith(f"{file} cannot be read")
    keep(tmp_path, manifest)
    assert choose(manifest, "bridge", tmp_path, machine=HERE).tuned


def test_nonsense_by_hand_is_no_choice(tmp_path: Path, manifest: Manifest) -> None:
    file = keep(tmp_path, manifest)
    good = json.loads(file.read_bytes())[0]
    for field, value in (("variant", "nowhere"), ("threads", 0), ("max_batch", -1), ("tier", "moon")):
        file.write_text(json.dumps([{**good, field: value}]))
        assert "cannot be read" in choose(manifest, "bridge", tmp_path, machine=HERE).why


def test_what_cannot_be_kept_is_our_error(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"state/tuned\.json: the choice cannot be kept"):
        keep(tmp_path / "state", manifest)


def test_a_chosen_provider_that_no_longer_loads_is_an_error_that_names_the_tuner(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = Point(Setup("small-int8", "int8", "cuda"), 64)
    found = msgspec.structs.replace(
        tuning(), accuracies={("small-fp32", "cuda"): 1.0, ("small-int8", "cuda"): 1.0}, seconds={point: 1.0}
    )
    keep(tmp_path, manifest, msgspec.structs.replace(found, chosen=point))
    chosen = choose(manifest, "bridge", tmp_path, machine=HERE)
    monkeypatch.setattr(ort, "providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match=r"cuda .* is not in .*\(chosen by inference-bridge models tune activity"):
        open_engine(manifest, chosen)
    untuned = choose(manifest, "bridge", tmp_path, provider="openvino", machine=HERE)
    with pytest.raises(ConfigError) as caught:
        open_engine(manifest, untuned)
    assert "models tune" not in str(caught.value)


def test_what_was_chosen_is_what_is_loaded(tmp_path: Path, manifest: Manifest) -> None:
    keep(tmp_path, manifest)
    engine = open_engine(manifest, choose(manifest, "bridge", tmp_path, machine=HERE))
    assert (engine.variant, engine.max_batch, engine.provider) == ("small-fp32", 16, "CPUExecutionProvider")
    assert engine.lanes == 2  # of 4 cores, 2 threads each


def test_lanes_and_threads_together_keep_the_cores_busy(tmp_path: Path, manifest: Manifest) -> None:
    wanted = {None: HERE.cores, 1: 4, 2: 2, 3: 1, 8: 1}
    for threads, count in wanted.items():
        assert choose(manifest, "bridge", tmp_path, threads=threads, machine=HERE).lanes == count


class TestMachine:
    def test_this_one_is_itself(self) -> None:
        here = this_machine()
        assert here.differences(this_machine()) == []
        assert here.runtime == ort.version()
        assert here.cores == cores() >= 1
        assert here.cpu

    def test_no_fewer_than_one_lane(self) -> None:
        assert [lanes(threads, cores=4) for threads in (1, 2, 3, 4, 5)] == [4, 2, 1, 1, 1]

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("processor\t: 0\nmodel name\t: An x86 @ 3 GHz\nmodel name\t: Another\n", "An x86 @ 3 GHz"),
            ("CPU part\t: 0xd0b\nHardware\t: BCM2711\n", "BCM2711"),
            ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n", "0xd0c"),
        ],
    )
    def test_names_of_processors(self, tmp_path: Path, text: str, name: str) -> None:
        (tmp_path / "cpuinfo").write_text(text)
        assert cpu_name(tmp_path / "cpuinfo").startswith(f"{name} (")

    def test_without_the_file_there_is_a_name_too(self, tmp_path: Path) -> None:
        assert cpu_name(tmp_path / "nowhere")
