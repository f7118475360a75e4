"""The reference oracle: what GroupNorm and BatchNorm compute, with a bound on every element.

NumPy only; nothing here knows a framework. A framework author's unit test needs two lines::

    import normgauge
    assert not normgauge.group_norm(x, num_groups=4, weight=w, bias=b, eps=1e-5).excludes(my_group_norm(x, ...))
"""

from normgauge.oracle.arithmetic import ACCURACY_CLASSES, Arithmetic, fewer_digits, precisions
from normgauge.oracle.axes import AXES
from normgauge.oracle.axis import Axis
from normgauge.oracle.batch_norm import BatchNormReference, batch_norm, batch_norm_backward
from normgauge.oracle.folded import Folded, fold_batch_norm, wrong_folds
from normgauge.oracle.formats import STEPS, RoundedStep, rounded
from normgauge.oracle.group_norm import group_norm, group_norm_backward
from normgauge.oracle.higher_derivatives import batch_norm_higher, group_norm_higher
from normgauge.oracle.layer_state import LayerState
from normgauge.oracle.reference import Gradients, Reference, Refusal, distance, exactly
from normgauge.oracle.running_statistics import RunningStatistics, initial_statistics
from normgauge.oracle.semantics import CANONICAL, Semantics, candidates, semantics
from normgauge.oracle.wrong_gradients import (
    HALF,
    WRONG_FORMS,
    WrongGradients,
    batch_norm_gradient_errors,
    digits_of,
    group_norm_gradient_errors,
)

__all__ = [
    "ACCURACY_CLASSES",
    "AXES",
    "CANONICAL",
    "HALF",
    "STEPS",
    "WRONG_FORMS",
    "Arithmetic",
    "Axis",
    "BatchNormReference",
    "Folded",
    "Gradients",
    "LayerState",
    "Reference",
    "Refusal",
    "RoundedStep",
    "RunningStatistics",
    "Semantics",
    "WrongGradients",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_gradient_errors",
    "batch_norm_higher",
    "candidates",
    "digits_of",
    "distance",
    "exactly",
    "fewer_digits",
    "fold_batch_norm",
    "group_norm",
    "group_norm_backward",
    "group_norm_gradient_errors",
    "group_norm_higher",
    "initial_statistics",
    "precisions",
    "rounded",
    "semantics",
    "wrong_folds",
]
