"""Where requirements come from: works in the version that was read, and what stands there or follows from it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Work:
    """A text in one version, which its ``name`` says.

    ``files`` are those of the installed ``distribution`` in which the words stand, in each of them; a test looks them
    up there.

    Raises:
        ValueError: the name does not say the version.
    """

    name: str
    version: str
    distribution: str = ""
    files: tuple[str, ...] = ()

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
    return Work(name=name, version="2.13.0", distribution="torch", files=(file,))


def _mlx(page: str, file: str) -> Work:
    return Work(name=f"mlx 0.32.4, {page}", version="0.32.4", distribution="mlx", files=(file,))


def _keras(page: str, file: str) -> Work:
    return Work(name=f"keras 3.15.1, {page}", version="3.15.1", distribution="keras", files=(file,))


def _jax(page: str, file: str) -> Work:
    return Work(name=f"jax 0.10.2, {page}", version="0.10.2", distribution="jax", files=(file,))


def _flax(page: str, *files: str) -> Work:
    return Work(name=f"flax 0.12.8, {page}", version="0.12.8", distribution="flax", files=files)


GROUP_NORM_PAPER: Final = Work(name="Wu and He (2018), arXiv:1803.08494v3", version="v3")
BATCH_NORM_PAPER: Final = Work(name="Ioffe and Szegedy (2015), arXiv:1502.03167v3", version="v3")
HIGHAM: Final = Work(name="Higham (2002), Accuracy and Stability of Numerical Algorithms, 2nd edition", version="2002")
IEEE: Final = Work(name="IEEE 754-2008", version="2008")
ONNX_GROUP_NORM: Final = Work(name="ONNX GroupNormalization, operator set 21", version="21")
ONNX_BATCH_NORM: Final = Work(name="ONNX BatchNormalization, operator set 15", version="15")
TORCH_GROUP_NORM: Final = _torch("torch.nn.GroupNorm", "torch/nn/modules/normalization.py")
TORCH_BATCH_NORM: Final = _torch("torch.nn.BatchNorm2d", "torch/nn/modules/batchnorm.py")
TORCH_FUNCTIONAL: Final = _torch("torch.nn.functional.batch_norm", "torch/nn/functional.py")
TORCH_OPERATORS: Final = Work(
    name="torch 2.13.0, native_functions.yaml",
    version="2.13.0",
    distribution="torch",
    files=("torchgen/packaged/ATen/native/native_functions.yaml",),
)
TORCH_MODULE: Final = _torch("torch.nn.Module", "torch/nn/modules/module.py")
MLX_GROUP_NORM: Final = _mlx("nn.GroupNorm", "mlx/nn/layers/normalization.py")
MLX_BATCH_NORM: Final = _mlx("nn.BatchNorm", "mlx/nn/layers/normalization.py")
MLX_MODULE: Final = _mlx("nn.Module", "mlx/nn/layers/base.py")
KERAS_GROUP_NORM: Final = _keras("GroupNormalization", "keras/src/layers/normalization/group_normalization.py")
KERAS_BATCH_NORM: Final = _keras("BatchNormalization", "keras/src/layers/normalization/batch_normalization.py")
KERAS_LAYER: Final = _keras("Layer", "keras/src/layers/layer.py")
_NNX, _LINEN = "flax/nnx/nn/normalization.py", "flax/linen/normalization.py"
FLAX_GROUP_NORM: Final = _flax("nnx.GroupNorm and linen.GroupNorm", _NNX, _LINEN)
FLAX_BATCH_NORM: Final = _flax("nnx.BatchNorm and linen.BatchNorm", _NNX, _LINEN)
FLAX_NNX_GROUP_NORM: Final = _flax("nnx.GroupNorm", _NNX)
FLAX_NNX_BATCH_NORM: Final = _flax("nnx.BatchNorm", _NNX)
FLAX_LINEN_BATCH_NORM: Final = _flax("linen.BatchNorm", _LINEN)
FLAX_NNX: Final = _flax("nnx.update and nnx.merge", "flax/nnx/graphlib.py")
FLAX_NNX_VARIABLES: Final = _flax("nnx.BatchStat", "flax/nnx/variablelib.py")
FLAX_LINEN: Final = _flax("linen.Module.apply", "flax/linen/module.py")
FLAX_SERIALIZATION: Final = _flax("serialization.from_state_dict", "flax/serialization.py")
JAX_ARRAYS: Final = Work(
    name="jax 0.10.2, jax.Array", version="0.10.2", distribution="jax", files=("jax/_src/numpy/array_methods.py",)
)
JAX_GRAD: Final = _jax("jax.grad", "jax/_src/api.py")
JAX_SCAN: Final = _jax("jax.lax.scan", "jax/_src/lax/control_flow/loops.py")

#: Words that several requirements are taken from.
ADDED_TO_THE_VARIANCE: Final = "is a constant added to the mini-batch variance for numerical stability"
UPDATE_RULE: Final = (
    r"the update rule for running statistics here is \hat{x}_\text{new} = (1 - \text{momentum}) \times \hat{x} + "
    r"\text{momentum} \times x_t, where \hat{x} is the estimated statistic and x_t is the new observed value."
)
#: Higham's places that bounds follow from, and what they say there.
ROUNDINGS_AT: Final = "section 2.2, equation (2.4), and section 3.1, lemma 3.1"
SUMS_AT: Final = "section 3.1, lemma 3.1, and section 4.2, which bounds a sum in any order"
FLOAT_FOR_HALF: Final = "The computation of ReduceMean and ReduceVar uses float to avoid overflow for float16 inputs."
