"""Which frameworks and implementations can be asked, told without starting any of them: the one list of adapters."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Final

from normgauge.adapters.base import Adapter
from normgauge.adapters.callables.adapter import adapter_of, words_in
from normgauge.adapters.callables.signature import BadFunction
from normgauge.adapters.case import Implementation

#: The adapters of this distribution; others register in the entry-point group of the same name.
ENTRY_POINT_GROUP: Final = "normgauge.adapters"
BUILT_IN: Final = {
    "torch": "normgauge.adapters.torch.adapter:TorchAdapter",
    "mlx": "normgauge.adapters.mlx.adapter:MlxAdapter",
    "keras-jax": "normgauge.adapters.keras.adapter:KerasOnJaxAdapter",
    "keras-torch": "normgauge.adapters.keras.adapter:KerasOnTorchAdapter",
    "keras-tensorflow": "normgauge.adapters.keras.adapter:KerasOnTensorflowAdapter",
    "keras-numpy": "normgauge.adapters.keras.adapter:KerasOnNumpyAdapter",
    "flax": "normgauge.adapters.flax.adapter:FlaxAdapter",
    "lucid": "normgauge.adapters.lucid.adapter:LucidAdapter",
}
#: How many known names a message shows at most.
_SHOWN: Final = 20


def registered() -> dict[str, str]:
    """Framework name to ``module:class``; a registered entry point wins over a built-in of its name."""
    return BUILT_IN | _entry_points(tuple(sys.path))


@functools.cache
def _entry_points(path: tuple[str, ...]) -> dict[str, str]:
    """Those of the others installed along ``path``; the scan opens a file for every installed distribution.

    What this distribution registers is in the list above. Metadata that an earlier build left in a checkout says where
    its modules were then.
    """
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {one.name: one.value for one in entries if one.dist is None or one.dist.name != "normgauge"}


def adapter_class(framework: str) -> type[Adapter]:
    """The adapter's class, without importing its framework.

    ``framework`` may be ``module:class``, or ``module:function``, with words on the function after a question mark:
    ``kernels:group_norm?layout=channels_last``.
    """
    path, words = words_in(framework if ":" in framework else registered()[framework])
    module, _, name = path.partition(":")
    found = getattr(importlib.import_module(module), name)
    if isinstance(found, type) or not callable(found):
        return found  # type: ignore[no-any-return]
    return adapter_of(found, words, path)


def make_adapter(framework: str | type[Adapter], dtype: str) -> Adapter:
    """An adapter for one dtype, with the environment variables set that its framework reads.

    Raises:
        KeyError: no adapter of this name is registered.
    """
    chosen = adapter_class(framework) if isinstance(framework, str) else framework
    os.environ.update({**chosen.caching(), **chosen.environment(dtype)})
    return chosen(dtype)


class NoAdapter(ValueError):
    """A name that leads to no adapter; the message says what is allowed."""


def load_adapter(framework: str) -> type[Adapter]:
    """The adapter of a registered framework, or of ``module:Class``; its framework is not imported.

    Raises:
        NoAdapter: the name is not registered, or what it names cannot be loaded or is no adapter.
    """
    if ":" not in framework and framework not in registered():
        raise NoAdapter(not_known("framework", framework, sorted(registered())))
    if ":" in framework and "" not in sys.path:
        sys.path.insert(0, "")  # a module in this folder, as `python -m` finds it and as the worker does
    try:
        found = adapter_class(framework)
    except BadFunction as error:
        raise NoAdapter(f"{framework!r} cannot be called as a layer: {error}") from None
    except Exception as error:  # a third party's module may raise anything
        raise NoAdapter(
            f"the adapter {framework!r} cannot be loaded: {error}; it must be a registered name, module:class or "
            "module:function"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Adapter)):
        raise NoAdapter(f"{framework!r} is no adapter: it must be a subclass of normgauge.adapters.base.Adapter")
    return found


def registered_implementations() -> dict[str, tuple[str, Implementation]]:
    """By id: the framework and the implementation, of every registered adapter that can be loaded."""
    found: dict[str, tuple[str, Implementation]] = {}
    for framework in sorted(registered()):
        try:
            adapter = load_adapter(framework)
        except NoAdapter:  # one broken registration disables no other
            continue
        found |= {one.id: (framework, one) for one in adapter.implementations}
    return found


def not_known(what: str, given: str, known: Sequence[str], *, listed: bool = True) -> str:
    """The message for a name that nothing has: the nearest known ones, or the first.

    ``listed`` says that `normgauge list` shows them all, as it does of what is registered.
    """
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    shown = [*known[:_SHOWN], *([f"{len(known) - _SHOWN} more"] if len(known) > _SHOWN else [])]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(shown)}"
    return f"{what} {given!r} is not known; {hint}{' (normgauge list shows all)' if listed else ''}"
