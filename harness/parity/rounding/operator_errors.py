"""The errors that right programs may make in one operator: those that only add numbers, and those of a bounded range.

    sums (sum, mean, losses, cumsum, pooling, scattering, softmax, logsumexp, norms: their mean and their variance)
        ± what harness.parity.rounding.summation says of the numbers that are added, at most √n · 2⁻²⁴ · Σ|x|
    sigmoid, softmax, tanh, erf, sin, …
        ± a unit in the last place of the range's larger end, within the range; a norm's is 1 before it is scaled
    elu, selu, celu, expm1
        ± one of 1, times alpha: a runtime computes exp(x) − 1
    silu, gelu, mish, glu
        ± one of x: x times a bounded function

Products of matrices and convolutions are not among them: √n there would hide half precision and TF32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .norm_errors import batch_norm_errors, group_norm_errors, layer_norm_errors
from .operator_call import Call, Change
from .range_errors import exponential_unit_errors, gated_errors, hardtanh_errors, times_bounded_errors, within_errors
from .sum_errors import (
    distance_errors,
    length_errors,
    logarithm_errors,
    loss_errors,
    pool_errors,
    put_errors,
    running_errors,
    scattered_errors,
    spread_errors,
    total_errors,
    weights_errors,
)

# What makes the errors of a call, by the operator's name.
CHANGES: dict[str, Callable[[Call], Change | None]] = {
    **dict.fromkeys(("sum", "nansum", "mean"), total_errors),
    **dict.fromkeys(("mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy"), loss_errors),
    **dict.fromkeys(("binary_cross_entropy_with_logits", "soft_margin_loss"), loss_errors),
    "cumsum": running_errors,
    **dict.fromkeys(("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), pool_errors),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), spread_errors),
    **dict.fromkeys(("linalg_vector_norm", "norm"), length_errors),
    "dist": distance_errors,
    **dict.fromkeys(("_softmax", "_safe_softmax"), weights_errors),
    **dict.fromkeys(("_log_softmax", "logsumexp"), logarithm_errors),
    "native_layer_norm": layer_norm_errors,
    "native_group_norm": group_norm_errors,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit"), batch_norm_errors),
    **dict.fromkeys(("scatter_add", "index_add", "scatter_reduce"), scattered_errors),
    **dict.fromkeys(("index_put", "_index_put_impl"), put_errors),
    **dict.fromkeys(("sigmoid", "hardsigmoid"), within_errors(0, 1)),
    **dict.fromkeys(("tanh", "erf", "sin", "cos"), within_errors(-1, 1)),
    "erfc": within_errors(0, 2),
    "sinc": within_errors(-0.25, 1),
    **dict.fromkeys(("atan", "asin"), within_errors(-math.pi / 2, math.pi / 2)),
    "acos": within_errors(0, math.pi),
    "atan2": within_errors(-math.pi, math.pi),
    "hardtanh": hardtanh_errors,
    **dict.fromkeys(("elu", "celu", "expm1"), exponential_unit_errors),
    **dict.fromkeys(("silu", "gelu", "mish"), times_bounded_errors),
    "glu": gated_errors,
}
