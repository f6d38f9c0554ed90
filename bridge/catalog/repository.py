"""The model repository: every folder with a `model.toml`, found once, good and bad."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bridge
from bridge.catalog.manifest import FILE, Manifest, load_manifest
from bridge.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator


def default_directory() -> Path:
    """The `models/` folder beside the `bridge` package: in a checkout, and in site-packages once installed."""
    return Path(next(iter(bridge.__path__))).absolute().parent / "models"


class Catalog:
    """The models of one or more directories, by name. A bad model does not hide the good ones.

    Attributes:
        directories: where was looked.
        bad: what is wrong with each folder that cannot be used.
    """

    def __init__(self, *directories: Path) -> None:
        """Look for `*/model.toml`.

        Args:
            directories: folders of model folders; `default_directory()` when none is given.

        Raises:
            ModelError: a directory is not there.
        """
        self.directories = tuple(path.absolute() for path in directories) or (default_directory(),)
        self.bad: dict[Path, ModelError] = {}
        self._models: dict[str, Manifest] = {}
        for directory in self.directories:
            if not directory.is_dir():
                raise ModelError(
                    f"{directory}: no such folder; model folders, each with a {FILE}, are looked for there"
                )
            for file in sorted(directory.glob(f"*/{FILE}")):
                self._add(file.parent)

    def _add(self, folder: Path) -> None:
        try:
            manifest = load_manifest(folder)
        except ModelError as error:
            self.bad[folder] = error
            return
        if (twin := self._models.get(manifest.name)) is not None:
            self.bad[folder] = ModelError(f"{folder / FILE}: name: {manifest.name!r} is already {twin.folder}'s")
            return
        self._models[manifest.name] = manifest

    def __getitem__(self, name: str) -> Manifest:
        """The model of that name.

        Raises:
            ModelError: there is none, or its folder cannot be used.
        """
        if (manifest := self._models.get(name)) is not None:
            return manifest
        for folder, error in self.bad.items():
            if folder.name == name:
                raise error
        there = ", ".join(self._models) or "none"
        raise ModelError(f"no model {name!r} in {', '.join(map(str, self.directories))}; there are: {there}")

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __iter__(self) -> Iterator[str]:
        """The names of the good models."""
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)
