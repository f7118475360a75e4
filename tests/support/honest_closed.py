"""Honest closed forms of dx in NumPy: those that are shipped or taught, and any other order of the same products.

They are for eps inside the root and the biased variance, on a pass of honest_backward.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from honest import Array, Machine
from honest_backward import Pass

# --- with a weight for each element ---------------------------------------------------------------------


def closed(p: Pass) -> Array:
    """r (g - mean(g) - x_hat mean(g x_hat))"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    m1, m2 = p.over_n(p.sum(g)), p.over_n(p.sum(f(g * x_hat)))
    return f(p.r * f(f(g - m1) - f(x_hat * m2)))


def closed_centred(p: Pass) -> Array:
    """r (h - x_hat mean(h x_hat)), h = g - mean(g)"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    h = f(g - p.over_n(p.sum(g)))
    return f(p.r * f(h - f(x_hat * p.over_n(p.sum(f(h * x_hat))))))


def closed_with_sums(p: Pass) -> Array:
    """r / n (n g - sum(g) - x_hat sum(g x_hat))"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    return f(p.over_n(p.r) * f(f(f(f(p.n) * g) - p.sum(g)) - f(x_hat * p.sum(f(g * x_hat)))))


def closed_fused(p: Pass) -> Array:
    """x_hat as x r - mean r"""
    f = p.f
    x_hat, g = f(f(p.x * p.r) - f(p.mean * p.r)), f(p.weight * p.dy)
    m1, m2 = p.over_n(p.sum(g)), p.over_n(p.sum(f(g * x_hat)))
    return f(f(f(g - f(x_hat * m2)) - m1) * p.r)


def closed_over_deviation(p: Pass) -> Array:
    """(g - mean(g) - x_hat mean(g x_hat)) / deviation, x_hat a quotient as well"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) / p.deviation), f(p.weight * p.dy)
    m1, m2 = p.over_n(p.sum(g)), p.over_n(p.sum(f(g * x_hat)))
    return f(f(f(g - m1) - f(x_hat * m2)) / p.deviation)


def closed_over_n_deviations(p: Pass) -> Array:
    """(n g - sum(g) - x_hat sum(g x_hat)) / (n deviation)"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    sums = f(f(f(f(p.n) * g) - p.sum(g)) - f(x_hat * p.sum(f(g * x_hat))))
    return f(sums / f(f(p.n) * p.deviation))


def closed_sums_over_n(p: Pass) -> Array:
    """(g - (sum(g) + x_hat sum(g x_hat)) / n) r: Caffe's"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    return f(f(g - p.over_n(f(f(x_hat * p.sum(f(g * x_hat))) + p.sum(g)))) * p.r)


def closed_shares(p: Pass) -> Array:
    """Means as sums of values that are multiplied by 1 / n first, as a product with a matrix of 1 / n has it"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    m1, m2 = p.sum_of_shares(g), p.sum_of_shares(f(g * x_hat))
    return f(p.r * f(f(g - m1) - f(x_hat * m2)))


def closed_product_first(p: Pass) -> Array:
    """r / n (n g - sum(g) - (x - mean) sum(g (x - mean)) / s), the numerator first: XLA's order"""
    f, d, g = p.f, p.f(p.x - p.mean), p.f(p.weight * p.dy)
    part = f(f(d * p.sum(f(g * d))) / p.under_root)
    return f(p.over_n(p.r) * f(f(f(g * f(p.n)) - p.sum(g)) - part))


def closed_cubed(p: Pass) -> Array:
    """r (g - mean(g)) - (r^3 / n) sum(g (x - mean)) (x - mean)"""
    f, d, g = p.f, p.f(p.x - p.mean), p.f(p.weight * p.dy)
    coefficient = f(p.over_n(f(f(p.r * p.r) * p.r)) * p.sum(f(g * d)))
    return f(f(p.r * f(g - p.over_n(p.sum(g)))) - f(coefficient * d))


def closed_squared_last(p: Pass) -> Array:
    """r (g - mean(g)) - x_hat (mean(g x) - mean(g) mean) r^2: MLX's"""
    f, g = p.f, p.f(p.weight * p.dy)
    m1 = p.over_n(p.sum(g))
    m2 = f(p.over_n(p.sum(f(g * p.x))) - f(m1 * p.mean))
    x_hat = f(f(p.x - p.mean) * p.r)
    return f(f(p.r * f(g - m1)) - f(f(x_hat * m2) * f(p.r * p.r)))


def closed_coefficients(p: Pass) -> Array:
    """(r w) dy + c2 x + c3 with c2 = (sum(g) mean - sum(g x)) r r r / n: torch's GroupNorm on CPUs"""
    f, g, share = p.f, p.f(p.weight * p.dy), p.f(p.f(1) / p.f(p.n))
    total, products = p.sum(g), p.sum(f(g * p.x))
    c2 = f(f(f(f(f(f(total * p.mean) - products) * p.r) * p.r) * p.r) * share)
    c3 = f(f(-f(c2 * p.mean)) - f(f(total * p.r) * share))
    return f(f(f(f(p.r * p.weight) * p.dy) + f(c2 * p.x)) + c3)


def closed_as_published(p: Pass) -> Array:
    """The paper's equations: the slope of the root inside the sum, and the mean of x - mean apart"""
    f, d, g, share = p.f, p.f(p.x - p.mean), p.f(p.weight * p.dy), p.f(p.f(1) / p.f(p.n))
    slope = f(f(1) / f(p.under_root * f(np.sqrt(p.under_root))))
    dvar = p.sum(f(f(f(g * d) * f(-0.5)) * slope))
    dmean = f(p.sum(f(g * f(-p.r))) + f(dvar * p.sum_of_shares(f(f(-2) * d))))
    return f(f(f(g * p.r) + f(f(dvar * f(f(2) * d)) * share)) + f(dmean * share))


CLOSED: Final[dict[str, Callable[[Pass], Array]]] = {
    form.__name__: form
    for form in (
        closed,
        closed_centred,
        closed_with_sums,
        closed_fused,
        closed_over_deviation,
        closed_over_n_deviations,
        closed_sums_over_n,
        closed_shares,
        closed_product_first,
        closed_cubed,
        closed_squared_last,
        closed_coefficients,
        closed_as_published,
    )
}


# --- closed forms whose weight is taken out of the sums: one weight a set, as BatchNorm's ----------------


def closed_weight_last(p: Pass) -> Array:
    """(dy - mean(dy) - (x - mean) k) r weight, k = r^2 mean((x - mean) dy): torch's BatchNorm"""
    f, d = p.f, p.f(p.x - p.mean)
    k = p.over_n(f(f(p.sum(f(d * p.dy)) * p.r) * p.r))
    return f(f(f(f(p.dy - p.over_n(p.sum(p.dy))) - f(d * k)) * p.r) * p.weight)


def closed_scale_last(p: Pass) -> Array:
    """(dy - mean(dy) - (x - mean) k) (weight r), k = r^2 mean(dy (x - mean)): TensorFlow's, torch's on GPUs"""
    f, d = p.f, p.f(p.x - p.mean)
    k = f(f(p.r * p.r) * p.over_n(p.sum(f(p.dy * d))))
    return f(f(p.weight * p.r) * f(f(p.dy - p.over_n(p.sum(p.dy))) - f(d * k)))


def closed_scale_over_n(p: Pass) -> Array:
    """(weight r / n) (n dy - sum(dy) - x_hat sum(dy x_hat)): MIOpen's"""
    f, x_hat = p.f, p.f(p.f(p.x - p.mean) * p.r)
    sums = f(f(f(f(p.n) * p.dy) - p.sum(p.dy)) - f(x_hat * p.sum(f(p.dy * x_hat))))
    return f(p.over_n(f(p.weight * p.r)) * sums)


def closed_xla(p: Pass) -> Array:
    """(weight r / n) (n dy - sum(dy) - (x - mean) sum(dy (x - mean)) / s), the numerator first"""
    f, d = p.f, p.f(p.x - p.mean)
    part = f(f(d * p.sum(f(p.dy * d))) / p.under_root)
    return f(p.over_n(f(p.weight * p.r)) * f(f(f(p.dy * f(p.n)) - p.sum(p.dy)) - part))


def closed_weighted_cube(p: Pass) -> Array:
    """(weight r) (dy - mean(dy)) - (weight r^3) (x - mean) (sum(dy (x - mean)) / n)"""
    f, d = p.f, p.f(p.x - p.mean)
    cubed = f(p.weight * f(f(p.r * p.r) * p.r))
    part = f(f(cubed * d) * p.over_n(p.sum(f(p.dy * d))))
    return f(f(f(p.weight * p.r) * f(p.dy - p.over_n(p.sum(p.dy)))) - part)


def closed_weighted_coefficients(p: Pass) -> Array:
    """a dy + b x + c, a = weight r, b = -(a r) (sum(dy x_hat) / n), c = -(b mean + a mean(dy))"""
    f, a = p.f, p.f(p.weight * p.r)
    k = p.over_n(f(f(p.sum(f(p.dy * p.x)) - f(p.sum(p.dy) * p.mean)) * p.r))
    b = f(-f(f(a * p.r) * k))
    c = f(-f(f(b * p.mean) + f(a * p.over_n(p.sum(p.dy)))))
    return f(f(f(a * p.dy) + f(b * p.x)) + c)


CLOSED_BY_SET: Final[dict[str, Callable[[Pass], Array]]] = {
    form.__name__: form
    for form in (
        closed_weight_last,
        closed_scale_last,
        closed_scale_over_n,
        closed_xla,
        closed_weighted_cube,
        closed_weighted_coefficients,
    )
}


# --- every other order of the same products --------------------------------------------------------------


def in_any_order(p: Pass, rng: np.random.Generator) -> Array:
    """r w dy - (r / n) sum(w dy) - (r^3 / n) (x - mean) sum(w dy (x - mean)), its products in an order that is drawn.

    Also drawn: which factors stand inside a sum, whether x - mean is formed in either place, and which of the
    three parts come together first. A weight of the whole set may stand outside. Products with 1 / n inside a sum are
    part of it, and in its type.
    """
    f, drawn = p.f, rng.integers(2, size=4)
    d, share = f(p.x - p.mean), f(f(1) / f(p.n))
    one_weight = bool((p.weight == p.weight[:, :1]).all())
    weights = [p.weight]

    def split(own: list[Array], shared: list[Array]) -> tuple[list[Array], list[Array]]:
        inside = rng.random(len(shared)) < 0.3
        outer = [one for one, within in zip(shared, inside, strict=True) if not within]
        return own + [one for one, within in zip(shared, inside, strict=True) if within], outer

    def product(factors: list[Array], g: Machine = f) -> Array:
        left = [factors[k] for k in rng.permutation(len(factors))]
        while len(left) > 1:
            k = int(rng.integers(len(left) - 1))
            left[k : k + 2] = [g(left[k] * left[k + 1])]
        return left[0]

    def summand(factors: list[Array]) -> Array:
        if f.wide is f or not any(one is share for one in factors):
            return product(factors)
        return product([f.wide(one) for one in factors], f.wide)

    def of_sum(inner: list[Array], shared: list[Array]) -> tuple[Array, list[Array]]:
        inner, outer = split(inner, shared + weights if one_weight else shared)
        return p.sum(summand(inner if one_weight else inner + weights)), outer

    first = product([p.weight, p.dy, p.r])
    second = product([part for total, outer in [of_sum([p.dy], [p.r, share])] for part in (total, *outer)])
    shared = [p.r, p.r, p.r, share]
    if drawn[0]:
        total, outer = of_sum([p.dy, d], shared)
    else:
        state = rng.bit_generator.state
        total, outer = of_sum([p.dy, p.x], shared)
        rng.bit_generator.state = state
        total = f(total - f(p.mean * of_sum([p.dy], shared)[0]))
    if drawn[1]:
        third = product([total, d, *outer])
    else:
        coefficient = product([total, *outer])
        third = f(f(coefficient * p.x) - f(coefficient * p.mean))
    parts = [first, -second, -third]
    left, middle, right = (parts[k] for k in rng.permutation(3))
    return f(f(left + middle) + right)


def some_closed(p: Pass, rng: np.random.Generator, *, by_set: bool) -> list[Array]:
    """dx by a closed form of each kind, drawn; ``by_set`` tells of one weight a set. For eps inside the root."""
    forms = [CLOSED[str(rng.choice(list(CLOSED)))](p), in_any_order(p, rng)]
    return [*forms, CLOSED_BY_SET[str(rng.choice(list(CLOSED_BY_SET)))](p)] if by_set else forms
