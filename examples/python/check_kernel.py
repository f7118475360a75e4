"""Checks a kernel by vectors, with safetensors and NumPy alone: normgauge is not imported.

The program runs a GroupNorm on every case that it supports, and compares each output with value ± bound of every
semantics in the set. It exits with 1 if an output is not canonical. With --answers it also writes the outputs, for
`normgauge vectors judge`.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def group_norm(x, groups, eps, weight, bias, mistake=""):
    """GroupNorm of x, of shape (N, C, ...), in the type of x; with one of three classic mistakes, if named."""
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups or (weight is not None and len(weight) != x.shape[1]):
        raise ValueError(f"x of shape {x.shape} has no {groups} groups of channels")
    per_channel = (-1, *(1,) * (x.ndim - 2))
    parts = x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])
    if mistake == "interleaved groups":
        parts = x.reshape(len(x), x.shape[1] // groups, groups, *x.shape[2:]).swapaxes(1, 2)
    sets = parts.reshape(len(x), groups, math.prod(parts.shape[2:]))
    if sets.shape[2] == 0:
        return x.copy()
    mean = sets.mean(axis=2, keepdims=True)
    variance = sets.var(axis=2, keepdims=True, ddof=1 if mistake == "unbiased variance" else 0)
    eps = x.dtype.type(eps)
    y = (sets - mean) / (np.sqrt(variance) + eps if mistake == "eps outside" else np.sqrt(variance + eps))
    y = y.reshape(parts.shape)
    if mistake == "interleaved groups":
        y = y.swapaxes(1, 2)
    y = y.reshape(x.shape)
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


KERNELS = ("right", "eps outside", "interleaved groups", "unbiased variance")


def is_supported(case):
    """Whether this program can run the case: a GroupNorm, forward, without actions between the calls."""
    plain = all(not step.get("before") and "dy" not in step for step in case["steps"])
    names = {name for step in case["steps"] for name in step["answer"]}
    given = {"num_groups", "eps"} <= case["settings"].keys() and not case.get("dtypes")
    return case["layer"] == "group_norm" and plain and names == {"output"} and given


def answers_of(case, tensors, mistake):
    """The outputs of the case by their names, and the message of the exception that ended it, if one did."""
    settings, outputs = case["settings"], {}
    channels = settings["num_channels"]
    parameters = {}
    for name, initial in (("weight", np.ones), ("bias", np.zeros)):
        tensor = case.get("parameters", {}).get(name)
        given = initial(channels, case["dtype"]) if tensor is None else tensors[tensor]
        parameters[name] = given if settings.get(name, True) else None
    for number, step in enumerate(case["steps"], start=1):
        x = tensors[step["x"]]
        try:
            if x.shape[1:2] != (channels,):
                raise ValueError(f"x must have {channels} channels, got {x.shape[1:2]}")
            outputs[step["answer"]["output"]] = group_norm(
                x, settings["num_groups"], settings["eps"], **parameters, mistake=mistake
            )
        except ValueError as error:
            return outputs, {"where": f"step {number}", "type": type(error).__name__, "message": str(error)}
    return outputs, None


def is_outside(case, semantics, outputs, raised, tensors):
    """Whether an output lies outside value ± bound of the semantics, or a refusal is missing."""
    for step in case["steps"]:
        expected, name = step.get("expected", {}).get(semantics), step["answer"]["output"]
        if expected is None or name not in outputs:
            break
        value, bound = (tensors[expected["output"][part]] for part in ("value", "bound"))
        with np.errstate(invalid="ignore"):
            same = (outputs[name] == value) | (np.isnan(outputs[name]) & np.isnan(value)) | ~np.isfinite(bound)
            if not (same | (np.abs(outputs[name] - value) <= bound)).all():
                return True
    required = case.get("refusal") == "required" or semantics in case.get("refused", {})
    return case.get("refusal") != "allowed" and required != (raised is not None)


def main(folder, kernel="right", answers=None):
    manifest = json.loads((folder / "manifest.json").read_text())
    tensors = {name: one for file in manifest["files"] for name, one in load_file(folder / file).items()}
    cases = [case for case in manifest["cases"] if is_supported(case)]
    outside = {name: [] for name in manifest["semantics"]}
    written, exceptions = {}, {}
    with np.errstate(all="ignore"):
        for case in cases:
            outputs, raised = answers_of(case, tensors, "" if kernel == "right" else kernel)
            written |= outputs
            exceptions |= {} if raised is None else {case["id"]: raised}
            for name, cases_outside in outside.items():
                if is_outside(case, name, outputs, raised, tensors):
                    cases_outside.append(case)
    print(f"{kernel}: {len(cases)} of {len(manifest['cases'])} cases")
    for name, cases_outside in outside.items():
        print(f"{name}: outside the bounds in {len(cases_outside)} cases")
    follows = [name for name, cases_outside in outside.items() if not cases_outside]
    for name in follows:
        print(f"follows {name}")
        for axis, value in manifest["semantics"][name]["group_norm"].items():
            flag = manifest["flags"][f"group_norm {axis}={value}"]
            print(f"  {flag['note']}, as in {', '.join(flag['sources'])}")
            print("".join(f"  {link}\n" for link in flag.get("links", [])), end="")
    if answers is not None:
        answers.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(one) for name, one in written.items()}, answers / "answers.safetensors")
        notes = {"framework": "numpy-kernel", "raised": exceptions}
        (answers / "answers.json").write_text(json.dumps(notes))
    return 0 if "canonical" in follows else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check a GroupNorm in NumPy by vectors.")
    parser.add_argument("vectors", type=Path, help="folder from `normgauge vectors export`")
    parser.add_argument("kernel", nargs="?", default="right", choices=KERNELS)
    parser.add_argument("--answers", type=Path, help="folder for the outputs")
    given = parser.parse_args()
    sys.exit(main(given.vectors, given.kernel, given.answers))
