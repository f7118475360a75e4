"""A requirement: one sentence that holds of a conforming implementation, with everything that belongs to it.

Identifiers are stable: a number is never used again for another requirement. The catalogue stands in the other modules
of this room, a chapter each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.requirements.inputs import SPATIAL, biases, weights
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import QUANTITIES, Probe, make_case
from normgauge.conformance.requirements.sources import Source, cited
from normgauge.results.grounds import Ground

#: Channels of most inputs, in so many groups where there are groups.
CHANNELS: Final = 8
GROUPS: Final = 4
#: Exact in every type, and away from 1/2, where weighing the new and weighing the old are the same.
MOMENTUM: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Asked:
    """For whom cases are made: an implementation for inputs of ``ranks``, at one dtype.

    ``few_shapes`` says that each further shape costs much, as where a framework compiles for it.
    """

    dtype: str
    ranks: tuple[int, ...]
    few_shapes: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of most inputs, (N, C, *spatial)."""
        return (2, CHANNELS, *SPATIAL[4 if 4 in self.ranks else self.ranks[-1]])


Make = Callable[[Asked], Iterable[Probe]]
#: How a requirement is judged, each by a function in conformance/verdicts.
Rule = Literal[
    "axis", "values", "constant", "answer", "parameter_types", "precision", "setting", "refusal", "unmodified",
    "output_type", "gradient_types", "statistics_types", "range", "wide_sums", "beyond_half", "kin", "sizes",
]  # fmt: skip


def no_probes(asked: Asked) -> Iterable[Probe]:
    """For what is judged by the cases of the other requirements, or by none that this room makes."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One sentence that holds of a conforming implementation.

    ``rule`` names the function in conformance/verdicts that judges it:

    - ``axis``: the values of ``axis`` that survived the diagnosis
    - ``values``: every result lies within the bound of the surviving semantics
    - ``constant``: as ``values``; a note says in how many cases the output equals the bias bit for bit
    - ``sizes``: as ``values``; sentence and notes say at which sizes it departs, as a rule
    - ``answer``: as ``values``, or the implementation refuses
    - ``parameter_types``: as ``answer``; notes say of which type the outputs are
    - ``precision``: the type given is the type computed in
    - ``setting``: the number given as ``setting`` is the number used
    - ``refusal``: the implementation refuses every case
    - ``unmodified``: no call changes its inputs or what a user has from before, and every result is the user's to write
    - ``output_type``: the output has the type of the input
    - ``gradient_types``: each gradient has the type of what it is the gradient of
    - ``statistics_types``: the running statistics keep the type that they are given in
    - ``range``: as ``values``, and where those say nothing as in the class that was measured
    - ``wide_sums``: as ``values``, of sums in float32
    - ``beyond_half``: as ``answer``, of the same numbers multiplied by powers of two that bring them into range
    - ``kin``: the framework's own layer of another kind agrees, in the ``relation`` of that name

    ``statement`` says all that is judged, and ``source`` where that is said, or what it follows from. ``ground`` is
    what it rests on (results/grounds.py): a departure from a ``convention`` is a difference, from anything else it is
    wrong. One that rests on ``documentation`` is a convention to layers whose own text is not quoted (``ground_for``).

    ``probes`` makes its cases. Where the requirement diverges, exploration leaves out what it ``settles``; where it
    conforms, plans and sequences of calls may have what it ``allows``. ``about`` is ``gradients`` (of ordinary inputs:
    a departure is not blamed on a special input), ``statistics`` (their accuracy), ``range`` (which says nothing of
    the accuracy), ``other samples`` (of the batch) or ``committed``. A requirement on a ``derivative`` is asked of
    implementations that declare it, and has no verdict for the others.

    Raises:
        ValueError: another ``rule``, another ``ground``, or no ``source``.
    """

    id: str
    layer: str
    title: str
    statement: str
    source: tuple[Source, ...]
    ground: Ground
    rule: Rule = "values"
    axis: str | None = None
    setting: str | None = None
    relation: str | None = None
    dtypes: tuple[str, ...] = DTYPES
    probes: Make = field(default=no_probes, repr=False, compare=False)
    settles: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()
    about: str = ""
    derivative: str = ""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"{self.id}: rule must be one of {', '.join(get_args(Rule))}: got {self.rule!r}")
        if self.ground not in get_args(Ground):
            raise ValueError(f"{self.id}: ground must be one of {', '.join(get_args(Ground))}: got {self.ground!r}")
        if not self.source:
            raise ValueError(f"{self.id}: source must name at least one place that says it, or that it follows from")

    @property
    def cited(self) -> str:
        """Its sources in words."""
        return cited(self.source)

    @property
    def quoted(self) -> frozenset[str]:
        """The distributions whose own text is quoted, such as ``torch``."""
        return frozenset(one.work.distribution for one in self.source if one.quote and one.work.distribution)

    def ground_for(self, package: str) -> Ground:
        """What it rests on for a layer of this package, such as ``mlx``: what others document is a convention to it."""
        return "convention" if self.ground == "documentation" and package not in self.quoted else self.ground


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What the chapters need to know of a kind of layer: a case of it as it is usually set.

    ``usual`` gives the settings of most cases, ``statistics`` says whether running statistics are given to it.
    """

    name: str
    usual: Callable[[str], dict[str, Any]]
    statistics: bool

    def case(
        self,
        asked: Asked,
        steps: Sequence[tuple[str, Array] | tuple[str, Array, Array]],
        parameters: Mapping[str, Array] | None = None,
        **changes: Any,
    ) -> Case:
        """A case with ``changes`` of the settings; by default with all parameters that the settings have."""
        settings = self.usual(asked.dtype) | changes
        if parameters is None and self.statistics:
            given = given_parameters(settings["num_channels"])
            has = {"weight": settings.get("weight", True), "bias": settings.get("bias", True)}
            parameters = {name: value for name, value in given.items() if has.get(name, settings.get("track", True))}
        return make_case(self.name, asked.dtype, settings, steps, parameters)

    def probe(
        self,
        asked: Asked,
        label: str,
        steps: Sequence[tuple[str, Array] | tuple[str, Array, Array]],
        parameters: Mapping[str, Array] | None = None,
        quantities: tuple[str, ...] = QUANTITIES,
        **changes: Any,
    ) -> Probe:
        """A probe of such a case."""
        return Probe(label=label, case=self.case(asked, steps, parameters, **changes), quantities=quantities)


def given_parameters(channels: int = CHANNELS) -> dict[str, Array]:
    return {"weight": weights(channels), "bias": biases(channels), **given_statistics(0, channels)}


def given_statistics(seed: int, channels: int = CHANNELS) -> dict[str, Array]:
    """Running statistics that no batch here has: means in eighths, variances in quarters above 1."""
    index = np.arange(channels)
    return {
        "running_mean": (index * 3 + seed) % 7 / 8 - 0.25,
        "running_var": 1.25 + (index * 5 + seed) % 8 / 4,
    }


GROUP_NORM: Final = Layer(
    name="group_norm",
    usual=lambda dtype: {"num_channels": CHANNELS, "num_groups": GROUPS, "eps": MAGNITUDES[dtype].usual_eps},
    statistics=False,
)
BATCH_NORM: Final = Layer(
    name="batch_norm",
    usual=lambda dtype: {"num_channels": CHANNELS, "eps": MAGNITUDES[dtype].usual_eps, "momentum": MOMENTUM},
    statistics=True,
)


class Both(NamedTuple):
    """What is said differently of GroupNorm and of BatchNorm."""

    group_norm: Any
    batch_norm: Any


def twins(*ids: str, **fields: Any) -> tuple[Requirement, ...]:
    """A requirement of both kinds of layer, its ``ids`` that of GroupNorm and that of BatchNorm.

    A field is the same for both, or :class:`Both`. ``probes`` takes the layer and what is asked.
    """
    found = []
    for number, (identifier, layer) in enumerate(zip(ids, (GROUP_NORM, BATCH_NORM), strict=True)):
        own = {name: value[number] if isinstance(value, Both) else value for name, value in fields.items()}
        found.append(_of(layer, identifier, **own))
    return tuple(found)


def _of(layer: Layer, identifier: str, *, probes: Any = None, **fields: Any) -> Requirement:
    """A requirement of one kind of layer; ``probes`` takes the layer and what is asked."""
    if probes is not None:
        fields["probes"] = functools.partial(probes, layer)
    return Requirement(id=identifier, layer=layer.name, **fields)


of_group_norm: Final = functools.partial(_of, GROUP_NORM)
of_batch_norm: Final = functools.partial(_of, BATCH_NORM)


def probes_of(requirements: Iterable[Requirement], asked: Asked) -> Iterator[Probe]:
    """Every case of these requirements: those that diagnose first, the plain ones of them before the special ones."""
    made = [own for one in requirements for probe in one.probes(asked) for own in probe.of(probe.requirement or one.id)]
    yield from sorted(made, key=lambda probe: (not probe.diagnoses, probe.special))
