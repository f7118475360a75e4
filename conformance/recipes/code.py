"""The code of a recipe: functions, put together from what the adapters write and what the plan asks for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.recipes.layers import RecipeLayer
from normgauge.conformance.recipes.plan import Plan

_WIDTH: Final = 110
#: The number of axes of an input that code is for, where the layer must know it: the most usual that both take.
_USUAL: Final = (4, 3, 5, 2)


def code_of(source: RecipeLayer, target: RecipeLayer, plan: Plan, remarks: Sequence[str]) -> str:
    """A Python module with the functions make_layer, set_state, get_state and call, and what these need."""
    own = _Code(source, target, plan)
    body = [
        *own.head(remarks),
        *own.make_layer(),
        *own.set_state(),
        *own.get_state(),
        *own.rescale_variance(),
        *own.call(),
    ]
    return "\n".join(body).rstrip() + "\n"


def channels_argument(layer: RecipeLayer) -> str:
    """The name of the argument with the number of channels."""
    return layer.implementation.names.get("num_channels", "channels")


def usual_rank(source: RecipeLayer, target: RecipeLayer) -> int:
    """The number of axes that a layer is made for, where it is made for one."""
    common = set(source.implementation.ranks) & set(target.implementation.ranks)
    return next((one for one in _USUAL if one in common), target.implementation.ranks[0])


def _wrapped(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from textwrap.wrap(f"- {text}.", _WIDTH, subsequent_indent="  ", break_long_words=False)


class _Code:
    """The lines of each function."""

    def __init__(self, source: RecipeLayer, target: RecipeLayer, plan: Plan) -> None:
        self.source, self.target, self.plan = source, target, plan
        self.there, self.here = source.implementation, target.implementation
        self.first = self.here.layout == CHANNELS_FIRST
        self.channels = channels_argument(source)
        self.affine = {part: flag for flag, parts in source.writing.flags.items() for part in parts}
        self.tracked = self.there.names.get("track") if "track" in self.here.names else None

    # --- the top of the module --------------------------------------------------------------------

    def head(self, remarks: Sequence[str]) -> Iterator[str]:
        title = kind_of(self.there.layer).title
        yield f'"""{title}: {self.target.id} in place of {self.source.id}.'
        yield ""
        yield f"From the profiles of {self.source.versions} and {self.target.versions}, in float32."
        notes = [*self._layout_notes(), *self.plan.notes, *remarks]
        if notes:
            yield from ("", "The code does this:", *_wrapped(notes))
        limits = self.plan.limits
        if limits:
            yield from ("", "The code does not do this:", *_wrapped(limits))
        yield from ('"""', "")
        environment = self.target.writing.environment
        if environment:
            yield from ("import os", "", *(f'os.environ["{name}"] = "{value}"' for name, value in environment.items()))
            yield ""
        yield from sorted(
            {"import numpy as np", *self.target.writing.imports}, key=lambda one: (one.startswith("from"), one)
        )
        yield from ("", f"#: The parameters and statistics: the name in {self.source.id}, and where they are here.")
        keys = {self.there.names[one]: key for one, key in self.target.writing.keys.items() if one in self.there.names}
        yield from ("NAMES = {", *(f'    "{name}": {key},'.replace("'", '"') for name, key in keys.items()), "}")
        if self.plan.permuted:
            yield from self._order()

    def _layout_notes(self) -> Iterator[str]:
        if self.there.layout != self.here.layout:
            there, here = self.there.layout, self.here.layout
            yield f"layout: x and y have that of {self.source.id}, ({there}); the layer gets ({here})"

    def _order(self) -> Iterator[str]:
        cut = "(groups, -1)" if self.plan.contiguous else "(-1, groups)"
        yield from ("", "", "def order_of(channels, groups):")
        yield f'    """The channels of {self.source.id} in the order in which this layer gets them."""'
        yield f"    return np.arange(channels).reshape{cut}.T.ravel()"

    # --- functions ----------------------------------------------------------------------------------

    def make_layer(self) -> Iterator[str]:
        names = self.there.names
        given = [self.channels, *([names["num_groups"]] if "num_groups" in names else [])]
        options = [f"{names[one]}={self.source.default(one)}" for one in ("eps", "momentum") if one in names]
        options += [f"{flag}=True" for flag in self.source.writing.flags]
        options += [f"{self.tracked}=True"] if self.tracked else []
        if self.target.writing.fixes_rank:
            options.append(f"ndim={usual_rank(self.source, self.target)}")
        yield from ("", "")
        yield f"def make_layer({', '.join(['*', *given, *options, 'state=None'])}):"
        yield f'    """The layer that computes what {self.there.class_path} with these arguments computes.'
        yield ""
        if self.target.writing.fixes_rank:
            yield "    `ndim` is the number of axes of x."
        yield f"    `state` has its arrays of shape (C,) as NumPy arrays: {', '.join(self._stored())}."
        yield '    """'
        if self.plan.lacks_average:
            yield f"    if {names['momentum']} is None:"
            yield f'        raise ValueError("{names["momentum"]}=None: {self.target.id} has no plain average")'
        yield f"    layer = {self.target.writing.class_name}({', '.join(self._arguments())})"
        for line in self.target.writing.made:
            yield f"    {line.format(channels=self.channels, ndim='ndim')}"
        yield from ("    if state is not None:", "        set_state(layer, state)", "    return layer")

    def _stored(self) -> list[str]:
        return [self.there.names[one] for one in self.target.writing.keys if one in self.there.names]

    def _arguments(self) -> Iterator[str]:
        names, own = self.there.names, self.here.names
        if self.target.writing.counted:
            yield f"{own['num_channels']}={self.channels}"
        if "num_groups" in own:
            yield f"{own['num_groups']}={names['num_groups']}"
        yield f"{own['eps']}={names['eps']}"
        if "momentum" in own:
            yield f"{own['momentum']}={'1 - ' if self.plan.complement else ''}{names['momentum']}"
        for flag, parts in self.target.writing.flags.items():
            yield f"{flag}={' or '.join(dict.fromkeys(self.affine[part] for part in parts))}"
        if self.tracked:
            yield f"{own['track']}={self.tracked}"
        yield from (f"{name}={value}" for name, value in self.target.writing.options.items())

    def _channels_here(self) -> Iterator[str]:
        """Lines that set the order of the channels, from the layer and the array ``value``."""
        groups = f"{self.target.writing.module}.{self.here.names['num_groups']}"
        yield f"order = order_of({{channels}}, {groups})"

    def set_state(self) -> Iterator[str]:
        yield from ("", "", "def set_state(layer, state):")
        yield f'    """Give the layer arrays of {self.source.id}; None, and names not in NAMES, are left out."""'
        yield "    for name, key in NAMES.items():"
        yield "        if state.get(name) is not None:"
        yield "            value = np.array(state[name], dtype=np.float32)"
        if self.plan.permuted:
            (line,) = self._channels_here()
            yield f"            {line.format(channels='len(value)')}"
            yield "            value = value[order]"
        yield f"            {self._write('key', 'value')}"

    def _write(self, name: str, value: str) -> str:
        return self.target.writing.write.format(name=name, value=value)

    def get_state(self) -> Iterator[str]:
        yield from ("", "", "def get_state(layer):")
        yield f'    """The layer\'s arrays by the names and in the order of {self.source.id}."""'
        yield "    state = {}"
        yield "    for name, key in NAMES.items():"
        yield f"        value = {self.target.writing.read.format(name='key')}"
        yield "        if value is not None:"
        yield f"            value = {self.target.writing.plain.format(x='value')}"
        if self.plan.permuted:
            (line,) = self._channels_here()
            yield f"            {line.format(channels='len(value)')}"
            yield "            value = value[np.argsort(order)]"
        yield from ("            state[name] = np.array(value)", "    return state")

    def call(self) -> Iterator[str]:
        yield from ("", "", "def call(layer, x, training):")
        yield f'    """y as {self.source.id} gives it; x and y have its layout, ({self.there.layout})."""'
        before, after = self._around()
        yield from (f"    {line}" for line in [*before, *self._counted(), *self._kept()])
        yield from (f"    {line}" for line in self.target.writing.call)
        yield from (f"    {line}" for line in [*self._rescaled(), *after, "return y"])

    def _around(self) -> tuple[list[str], list[str]]:
        """What is done to x, and what to y."""
        writing, before, after = self.target.writing, list[str](), list[str]()
        if self.there.layout != self.here.layout:
            a, b = (-1, 1) if self.first else (1, -1)
            before.append(f"x = {writing.moved.format(x='x', a=a, b=b)}")
            after.insert(0, f"y = {writing.moved.format(x='y', a=b, b=a)}")
        missing = set(self.there.ranks) - set(self.here.ranks)
        if missing:
            before += ["shape = tuple(x.shape)", *self._reshaped()]
            after.insert(0, f"y = {writing.shaped.format(x='y', shape='shape')}")
        if self.plan.permuted:
            (line,) = self._channels_here()
            axis = "1" if self.first else "-1"
            before.append(line.format(channels=f"x.shape[{axis}]"))
            before.append(f"x = {writing.taken.format(x='x', order='order', axis=axis)}")
            after.insert(0, f"y = {writing.taken.format(x='y', order='np.argsort(order)', axis=axis)}")
        return before, after

    def _reshaped(self) -> Iterator[str]:
        """Positions are put into one axis where the layer does not take as many: it treats them alike."""
        ranks = self.here.ranks
        rank = next(one for one in sorted(ranks, key=lambda one: (one < 3, one)))
        ones = ", 1" * (rank - 3)
        shape = f"(shape[0], shape[1], -1{ones})" if self.first else f"(shape[0], -1{ones}, shape[-1])"
        if set(ranks) & set(self.there.ranks):
            yield f"if len(shape) != {rank}:" if len(ranks) == 1 else f"if len(shape) not in {tuple(ranks)}:"
            yield f"    x = {self.target.writing.shaped.format(x='x', shape=shape)}"
        else:
            yield f"x = {self.target.writing.shaped.format(x='x', shape=shape)}"

    def _counted(self) -> Iterator[str]:
        if self.plan.refuses_one or self.plan.factor:
            yield f"n = int(np.prod(tuple(x.shape))) // x.shape[{'1' if self.first else '-1'}]"
        if self.plan.refuses_one:
            yield "if training and n == 1:"
            yield '    raise ValueError("training needs more than one value per channel")'

    def _kept(self) -> Iterator[str]:
        if self.plan.factor:
            yield f'before = get_state(layer).get("{self.there.names["running_var"]}")'

    def _rescaled(self) -> Iterator[str]:
        if self.plan.factor:
            yield from ("if training and before is not None:", "    rescale_variance(layer, before, n)")

    def rescale_variance(self) -> Iterator[str]:
        """What the batch added to the running variance is multiplied; the rest is carried over from before."""
        if not self.plan.factor:
            return
        name, momentum = self.there.names["running_var"], f"{self.target.writing.module}.{self.here.names['momentum']}"
        weighs_old = self.target.values("momentum_weighs") == ("old",)
        yield from ("", "", "def rescale_variance(layer, before, n):")
        yield f'    """After a training call on n values per channel: running_var as {self.source.id} moves it.'
        yield from ("", "    `before` is the array before the call.", '    """', "    if n > 1:")
        yield f"        carried = {momentum if weighs_old else f'(1 - {momentum})'} * before.astype(np.float64)"
        yield f'        added = get_state(layer)["{name}"] - carried'
        yield f'        set_state(layer, {{"{name}": carried + added * ({self.plan.factor})}})'
