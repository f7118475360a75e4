"""Three other ways to test a layer, for comparison: ONNX's node cases, one shape beside torch, oneDNN's benchdnn."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from faulty.faults.fault import BATCH, GROUP, Fault

Array = np.ndarray[Any, np.dtype[Any]]

EPS: Final = 1e-5
MOMENTUM: Final = 0.1


def made(
    fault: Fault, channels: int, groups: int, eps: float, momentum: float = MOMENTUM, dtype: str = "float32"
) -> Any:
    """The faulty layer."""
    if fault.kind == GROUP:
        return fault.layer(num_groups=groups, num_channels=channels, eps=eps, dtype=dtype)
    return fault.layer(num_channels=channels, eps=eps, momentum=momentum, track=True, dtype=dtype)


def caught(passes: Callable[[Fault], bool]) -> Callable[[Fault], bool]:
    """Whether a way of testing catches a fault: it does where the layer raises, too."""

    @functools.wraps(passes)
    def catches(fault: Fault) -> bool:
        try:
            with np.errstate(all="ignore"):
                return not passes(fault)
        except ImportError:  # the other way is not here
            raise
        except Exception:
            return True

    return catches


# --- ONNX -------------------------------------------------------------------------------------------------


@functools.cache
def _cases() -> list[Any]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    wanted = ("test_batchnorm_", "test_group_normalization_")
    return [one for one in found if one.name.startswith(wanted) and not one.name.endswith("_expanded")]


def _onnx_case(fault: Fault, case: Any) -> bool:
    node = case.model.graph.node[0]
    attributes = {one.name: one.f if one.type == 1 else one.i for one in node.attribute}
    for inputs, outputs in case.data_sets:
        x, weight, bias = inputs[:3]
        momentum = 1 - attributes.get("momentum", 0.9)
        layer = made(fault, x.shape[1], attributes.get("num_groups", 1), attributes.get("epsilon", EPS), momentum)
        layer.weight, layer.bias = weight.astype("float32"), bias.astype("float32")
        layer.training = bool(attributes.get("training_mode", fault.kind == GROUP))
        if fault.kind == BATCH:
            layer.running_mean, layer.running_var = (one.astype("float32") for one in inputs[3:5])
        found = [layer(x.astype("float32"))]
        if len(outputs) > 1:  # ONNX tracks the biased variance
            n = x.size // x.shape[1]
            var = (layer.running_var - (1 - momentum) * inputs[4]) * (n - 1) / n + (1 - momentum) * inputs[4]
            found += [layer.running_mean, var]
        for one, right in zip(found, outputs, strict=True):
            if not np.allclose(one, right, rtol=case.rtol, atol=case.atol):
                return False
    return True


def passes_onnx(fault: Fault) -> bool:
    """The node cases of the onnx package for the layer, with its data and its tolerances."""
    kind = "test_batchnorm_" if fault.kind == BATCH else "test_group_normalization_"
    return all(_onnx_case(fault, case) for case in _cases() if case.name.startswith(kind))


# --- one shape --------------------------------------------------------------------------------------------


def passes_one_shape(fault: Fault) -> bool:
    """One randn input of an ordinary shape beside torch's layer: output, statistics and gradients, train and eval."""
    import torch

    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((2, 32, 8, 8)).astype("float32") for _ in range(2))
    weight, bias = (rng.standard_normal(32).astype("float32") for _ in range(2))
    layer = made(fault, 32, 8, EPS)
    right: Any = torch.nn.GroupNorm(8, 32, eps=EPS) if fault.kind == GROUP else torch.nn.BatchNorm2d(32, eps=EPS)
    layer.weight, layer.bias = weight.copy(), bias.copy()
    with torch.no_grad():
        right.weight.copy_(torch.from_numpy(weight))
        right.bias.copy_(torch.from_numpy(bias))
    for training in (True, False):
        layer.training = training
        right.train(training)
        given = torch.from_numpy(x.copy()).requires_grad_()
        right.zero_grad()
        y = right(given)
        y.backward(torch.from_numpy(dy))
        found = layer.gradients(x.copy(), dy.copy()) | {"y": layer(x.copy())}
        wanted = {"y": y.detach(), "dx": given.grad, "dweight": right.weight.grad, "dbias": right.bias.grad}
        if fault.kind == BATCH:
            found |= {name: getattr(layer, name) for name in ("running_mean", "running_var")}
            wanted |= {name: getattr(right, name) for name in ("running_mean", "running_var")}
        for name, value in wanted.items():
            try:
                torch.testing.assert_close(torch.from_numpy(np.asarray(found[name])), value)
            except AssertionError:
                return False
    return True


# --- benchdnn ---------------------------------------------------------------------------------------------

#: Shapes chosen here: (N, C, H, W) and the groups.
_SHAPES: Final = (((2, 16, 8, 8), 4), ((3, 32, 5, 7), 8), ((2, 64, 14, 14), 32))
#: A threshold chosen here for float32, in relation to the largest value; oneDNN has its own.
_THRESHOLD: Final = 1e-5


def _exact(shape: tuple[int, ...]) -> Array:
    """Values m * (1 +- k / 2^6) in pairs with one sum, so that means are exact in any order; m is a power of two."""
    n, c, *_ = shape
    positions = int(np.prod(shape[2:]))
    place = np.arange(positions)[None, None] + positions * np.arange(n)[:, None, None] + 478 * np.arange(c)[:, None]
    flexible = (place // 2 * 1637 & 63) / 64 * np.where(place % 2 == 0, 1, -1)
    return (0.25 * (1 << np.arange(c) % 7)[:, None] * (1 + flexible)).reshape(shape).astype("float32")


def _close(found: Array, right: Array) -> bool:
    return bool(np.abs(found - right).max() <= _THRESHOLD * max(np.abs(right).max(), 1))


def _differentiated(kind: str, x: Array, dy: Array, weight: Array, bias: Array, groups: int) -> Iterator[Any]:
    """What torch gives in float64: output, dx, dweight, dbias."""
    import torch

    given, w, b = (torch.from_numpy(one.astype("float64")).requires_grad_() for one in (x, weight, bias))
    if kind == GROUP:
        y = torch.nn.functional.group_norm(given, groups, w, b, EPS)
    else:
        y = torch.nn.functional.batch_norm(given, None, None, w, b, training=True, eps=EPS)
    y.backward(torch.from_numpy(dy.astype("float64")))
    for one in (y.detach(), given.grad, w.grad, b.grad):
        assert one is not None
        yield one.numpy()


def passes_benchdnn(fault: Fault) -> bool:
    """Inputs of few bits, sparse small integers as dy, weights that are powers of two, and a fixed threshold."""
    rng = np.random.default_rng(1)
    for shape, groups in _SHAPES:
        x, c = _exact(shape), shape[1]
        dy = (rng.integers(-2, 3, shape) * (rng.random(shape) < 0.05)).astype("float32")
        weight = (0.125 * (1 << np.arange(c) % 7)).astype("float32")
        bias = ((np.arange(c) % 3 - 1) / 512 * (1 << np.arange(c) % 7)).astype("float32")
        layer = made(fault, c, groups, EPS)
        layer.weight, layer.bias, layer.training = weight, bias, True
        gradients = layer.gradients(x.copy(), dy.copy())
        found = [layer(x.copy()), *(gradients[name] for name in ("dx", "dweight", "dbias"))]
        right = _differentiated(fault.kind, x, dy, weight, bias, groups)
        if not all(map(_close, found, right)):
            return False
    return True


PEERS: Final[dict[str, Callable[[Fault], bool]]] = {
    "ONNX": caught(passes_onnx),
    "one shape": caught(passes_one_shape),
    "benchdnn": caught(passes_benchdnn),
}
