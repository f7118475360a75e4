"""Where requirements come from: works in the version that was read, and what stands there or follows from it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Work:
    """A text in one version, which its ``name`` says.

    ``file`` is a file of the installed ``distribution`` in which the words stand; a test looks them up there.

    Raises:
        ValueError: the name does not say the version.
    """

    name: str
    version: str
    distribution: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if not self.version or self.version not in self.name:
            raise ValueError(f"the name of a work must say which version was read, {self.version!r}: got {self.name!r}")

    def says(self, quote: str, *, at: str = "") -> Source:
        """These very words, at a place in it."""
        return Source(work=self, at=at, quote=quote)

    def implies(self, because: str, *, at: str = "", quote: str = "") -> Source:
        """That it follows from a place in it, or from the words ``quote`` there, and why."""
        return Source(work=self, at=at, quote=quote, because=because)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a requirement is taken from: quoted word for word, or derived with a reason, or both.

    Raises:
        ValueError: it neither quotes nor derives.
    """

    work: Work
    at: str = ""
    quote: str = ""
    because: str = ""

    def __post_init__(self) -> None:
        if not (self.quote or self.because):
            raise ValueError(f"{self.work.name}: a source must quote its words, or say what follows and why")

    def __str__(self) -> str:
        if not self.quote:
            return f"follows from {self.at or 'it'}: {self.because}"
        quoted = ", ".join(filter(None, (self.at, f'"{self.quote}"')))
        return f"{quoted}, so {self.because}" if self.because else quoted


def cited(sources: Iterable[Source]) -> str:
    """All of them in a line, each work named once."""
    by_work = itertools.groupby(sources, lambda one: one.work)
    return "; ".join(f"{work.name}: {' and '.join(map(str, own))}" for work, own in by_work)


def _torch(page: str, file: str) -> Work:
    name = f"torch 2.13.0, https://docs.pytorch.org/docs/2.13/generated/{page}.html"
    return Work(name=name, version="2.13.0", distribution="torch", file=file)


def _mlx(page: str, file: str) -> Work:
    return Work(name=f"mlx 0.32.4, {page}", version="0.32.4", distribution="mlx", file=file)


def _keras(page: str, file: str) -> Work:
    return Work(name=f"keras 3.15.1, {page}", version="3.15.1", distribution="keras", file=file)


def _flax(page: str) -> Work:
    file = "flax/nnx/nn/normalization.py"
    return Work(name=f"flax 0.12.8, {page}", version="0.12.8", distribution="flax", file=file)


GROUP_NORM_PAPER: Final = Work(name="Wu and He (2018), arXiv:1803.08494v3", version="v3")
BATCH_NORM_PAPER: Final = Work(name="Ioffe and Szegedy (2015), arXiv:1502.03167v3", version="v3")
RESIDUAL_PAPER: Final = Work(name="He, Zhang, Ren and Sun (2015), arXiv:1512.03385v1", version="v1")
BOUNDS: Final = Work(name="docs/bounds.md of this release", version="this release")
IEEE: Final = Work(name="IEEE 754-2008", version="2008")
ONNX_GROUP_NORM: Final = Work(name="ONNX GroupNormalization, operator set 21", version="21")
ONNX_BATCH_NORM: Final = Work(name="ONNX BatchNormalization, operator set 15", version="15")
TORCH_GROUP_NORM: Final = _torch("torch.nn.GroupNorm", "torch/nn/modules/normalization.py")
TORCH_BATCH_NORM: Final = _torch("torch.nn.BatchNorm2d", "torch/nn/modules/batchnorm.py")
TORCH_FUNCTIONAL: Final = _torch("torch.nn.functional.batch_norm", "torch/nn/functional.py")
TORCH_MODULE: Final = _torch("torch.nn.Module", "torch/nn/modules/module.py")
MLX_GROUP_NORM: Final = _mlx("nn.GroupNorm", "mlx/nn/layers/normalization.py")
MLX_BATCH_NORM: Final = _mlx("nn.BatchNorm", "mlx/nn/layers/normalization.py")
MLX_MODULE: Final = _mlx("nn.Module", "mlx/nn/layers/base.py")
KERAS_GROUP_NORM: Final = _keras("GroupNormalization", "keras/src/layers/normalization/group_normalization.py")
KERAS_BATCH_NORM: Final = _keras("BatchNormalization", "keras/src/layers/normalization/batch_normalization.py")
KERAS_LAYER: Final = _keras("Layer", "keras/src/layers/layer.py")
FLAX_GROUP_NORM: Final = _flax("nnx.GroupNorm")
FLAX_BATCH_NORM: Final = _flax("nnx.BatchNorm")

#: Words that several requirements are taken from.
ADDED_TO_THE_VARIANCE: Final = "is a constant added to the mini-batch variance for numerical stability"
UPDATE_RULE_AT: Final = "Mathematically, the update rule for running statistics here is"
UPDATE_RULE: Final = "new = (1 - momentum) * old + momentum * batch"
FLOAT_FOR_HALF: Final = "The computation of ReduceMean and ReduceVar uses float to avoid overflow for float16 inputs."
