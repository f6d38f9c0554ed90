"""Every execution provider in one table: what ONNX Runtime calls it, what brings it, and which this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from bridge.errors import ConfigError
from bridge.runtime import ort

Kind = Literal["gpu", "npu", "cpu"]
_NONE: Mapping[str, str] = MappingProxyType({})


class Provider(msgspec.Struct, frozen=True):
    """One row of the table.

    Attributes:
        name: what settings call it.
        ort: what ONNX Runtime calls it.
        kind: what it computes on by default; "cpu" is no accelerator.
        install: what brings it.
        options: ONNX Runtime's own options for it, before the owner's.
        helper: provider that takes the nodes it cannot run, before the CPU does.
        threads_option: its option for the number of threads, where it brings threads of its own.
    """

    name: str
    ort: str
    kind: Kind
    install: str
    options: Mapping[str, str] = _NONE
    helper: str | None = None
    threads_option: str | None = None


_GPU = "pip install 'edge-inference-bridge[gpu]' in place of [bridge] (NVIDIA driver, CUDA 13 and cuDNN 9)"

# Best first: the order in which "auto" tries them.
PROVIDERS = (
    Provider("tensorrt", "TensorrtExecutionProvider", "gpu", f"{_GPU}, and TensorRT's libraries", helper="cuda"),
    # HEURISTIC: the default, EXHAUSTIVE, searches again for each new batch size
    Provider("cuda", "CUDAExecutionProvider", "gpu", _GPU, {"cudnn_conv_algo_search": "HEURISTIC"}),
    Provider("qnn", "QNNExecutionProvider", "npu", "pip install onnxruntime-qnn (Qualcomm)", {"backend_type": "htp"}),
    Provider(
        "coreml", "CoreMLExecutionProvider", "npu", "pip install onnxruntime on macOS", {"ModelFormat": "MLProgram"}
    ),
    Provider("directml", "DmlExecutionProvider", "gpu", "pip install onnxruntime-directml on Windows"),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "cpu",
        "pip install onnxruntime-openvino in place of onnxruntime; device_type GPU or NPU need Intel's drivers",
        {"device_type": "CPU"},
        threads_option="num_of_threads",
    ),
    Provider(
        "xnnpack",
        "XnnpackExecutionProvider",
        "cpu",
        "an ONNX Runtime built with --use_xnnpack",
        threads_option="intra_op_num_threads",
    ),
    Provider("cpu", "CPUExecutionProvider", "cpu", "pip install 'edge-inference-bridge[bridge]'"),
)
BY_NAME: Mapping[str, Provider] = MappingProxyType({provider.name: provider for provider in PROVIDERS})


class Choice(msgspec.Struct, frozen=True):
    """A provider with the options it shall run with.

    Attributes:
        provider: row of the table.
        options: the table's options, overlaid with the owner's.
    """

    provider: Provider
    options: Mapping[str, str]

    @property
    def accelerator(self) -> bool:
        """Whether it computes elsewhere than on the CPU; OpenVINO's device decides for OpenVINO."""
        if self.provider.name == "openvino":
            return self.options.get("device_type", "CPU").split(":")[0].split(".")[0] in {"GPU", "NPU"}
        return self.provider.kind != "cpu"

    @property
    def stack(self) -> list[tuple[str, dict[str, str]]]:
        """What ONNX Runtime is asked for: the provider, its helper, and the CPU for what they cannot run."""
        found = [(self.provider.ort, dict(self.options))]
        if self.provider.helper is not None:
            helper = BY_NAME[self.provider.helper]
            device = {"device_id": self.options["device_id"]} if "device_id" in self.options else {}
            found.append((helper.ort, {**helper.options, **device}))  # else it would compute on another GPU, the first
        return found if self.provider.name == "cpu" else [*found, (BY_NAME["cpu"].ort, {})]

    def with_threads(self, threads: int) -> Choice:
        """This choice with so many threads of the provider's own, unless the owner's options say how many."""
        option = self.provider.threads_option
        if option is None or self.accelerator:
            return self
        return msgspec.structs.replace(self, options={option: str(threads), **self.options})


def available() -> list[Provider]:
    """The providers that the installed ONNX Runtime was built with, best first. Whether one loads, only a load tells.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    built = ort.providers()
    return [provider for provider in PROVIDERS if provider.ort in built]


def candidates(
    preference: str = "auto", *, options: Mapping[str, str] = _NONE, require_accelerator: bool = False
) -> list[Choice]:
    """Providers to try, in this order.

    Args:
        preference: a name of the table, or "auto" for every one that is there, best first.
        options: ONNX Runtime's options for the provider named; not with "auto".
        require_accelerator: leave out what computes on the CPU.

    Returns:
        At least one.

    Raises:
        ConfigError: no such name, not there, or no accelerator where one is required; says what was found and what to
            install.
    """
    there = available()
    if preference == "auto":
        if options:
            raise ConfigError('provider: options belong to one provider: name it instead of "auto"')
        # OpenVINO and XNNPACK compute on the CPU too and are faster only for some models: to be named, or tuned
        found = [Choice(provider, provider.options) for provider in there if provider.kind != "cpu"]
        found += [Choice(provider, provider.options) for provider in there if provider.name == "cpu"]
    else:
        found = [_named(preference, options, there)]
    if require_accelerator and not any(choice.accelerator for choice in found):
        raise ConfigError(_no_accelerator(preference, there))
    return [choice for choice in found if choice.accelerator or not require_accelerator]


def resolve(
    preference: str = "auto", *, options: Mapping[str, str] = _NONE, require_accelerator: bool = False
) -> Choice:
    """The first of `candidates`; same arguments, same errors."""
    return candidates(preference, options=options, require_accelerator=require_accelerator)[0]


def _named(name: str, options: Mapping[str, str], there: list[Provider]) -> Choice:
    provider = BY_NAME.get(name)
    if provider is None:
        raise ConfigError(f'provider: {name!r} is not one of "auto", {", ".join(BY_NAME)}')
    if provider not in there:
        raise ConfigError(
            f"provider: {name} ({provider.ort}) is not in the ONNX Runtime installed here, which has {_names(there)}; "
            f"to get it: {provider.install}"
        )
    return Choice(provider, {**provider.options, **options})


def _no_accelerator(preference: str, there: list[Provider]) -> str:
    ways = "; ".join(f"{p.name}: {p.install}" for p in PROVIDERS if p.kind != "cpu" and not p.helper and p not in there)
    return (
        f"require_accelerator: provider {preference!r} computes on the CPU here: ONNX Runtime {ort.version()} has "
        f"{_names(there)}. Install one ({ways or 'see the providers guide'}), or take require_accelerator out"
    )


def _names(there: list[Provider]) -> str:
    return ", ".join(f"{provider.name} ({provider.ort})" for provider in there) or "none"
