"""What tools/export_models.py left in a folder: the manifest and the data sets of each model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Exported:
    """One exported model: its folder and its row of the manifest."""

    folder: Path
    entry: dict

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def module(self) -> Path:
        return self.folder.parent / self.entry["module"]

    def data_set(self, i: int, kind: str) -> dict[str, np.ndarray]:
        """The tensors of test_data_set_i; kind is "input" or "output"."""
        return dict(read_tensor(path) for path in self.data_files(i, kind))

    def data_files(self, i: int, kind: str) -> list[Path]:
        files = (self.folder / f"test_data_set_{i}").glob(f"{kind}_*.pb")
        return sorted(files, key=lambda path: int(path.stem.split("_")[1]))


@dataclass(frozen=True)
class Repeated(Exported):
    """An exported model on `times` its data, one after another along the first axis."""

    times: int
    scratch: Path

    @property
    def name(self) -> str:
        return f"{self.folder.name}-{self.times}"

    def data_set(self, i: int, kind: str) -> dict[str, np.ndarray]:
        data = Exported(self.folder, self.entry).data_set(i, kind)
        return {name: np.concatenate([x] * self.times) for name, x in data.items()}

    def data_files(self, i: int, kind: str) -> list[Path]:
        """Written on every call, to `scratch`."""
        paths = []
        for at, array in enumerate(self.data_set(i, kind).values()):
            paths.append(self.scratch / f"{self.name}-{i}-{kind}_{at}.npy")
            np.save(paths[-1], array)
        return paths


def read_manifest(out: Path) -> list[Exported]:
    path = out / "manifest.json"
    entries = json.loads(path.read_text())["entries"] if path.exists() else []
    return [Exported(out / entry["path"], entry) for entry in entries]


def read_tensor(path: Path) -> tuple[str, np.ndarray]:
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    return tensor.name, numpy_helper.to_array(tensor)


def relative_difference(got: np.ndarray, want: np.ndarray) -> float:
    """max |got − want| over the largest magnitude of want; NaN must meet NaN."""
    if got.shape != want.shape:
        raise ValueError(f"shape {list(got.shape)}, expected {list(want.shape)}")
    if want.size == 0:
        return 0.0
    got, want = got.astype(np.float64), want.astype(np.float64)
    if not np.array_equal(np.isnan(got), np.isnan(want)):
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = np.where(got == want, 0.0, np.abs(got - want))
    largest = float(np.nanmax(np.abs(want), initial=0.0)) or 1.0
    return float(np.nanmax(difference, initial=0.0)) / largest
