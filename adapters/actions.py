"""What a user does to a layer between two calls, in the framework's own way: the words, and an adapter's part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from normgauge.adapters.case import ACTIONS, Action, Array, Case, Implementation


class Acting:
    """The part of an adapter that acts on a layer between calls; ``lacks`` declares what it leaves out."""

    _inside: tuple[Any, Any] | None = None

    def acted(self, implementation: Implementation, case: Case, layer: Any, action: Action) -> Any:
        """The layer that lives on after ``action``."""
        if action.name == "save_load":
            return self.save_load(implementation, bare(case), layer)
        if action.name == "momentum":
            return self.set_momentum(layer, action.value)
        if action.name == "set_parameters":
            self.set_parameters(implementation, case, layer, action.parameters)
        elif action.name == "reset":
            self.reset(layer)
        elif action.name in {"freeze", "unfreeze"}:
            self.freeze(layer, action.name == "freeze")
        elif action.name in {"freeze_model", "unfreeze_model"}:
            if self._inside is None or self._inside[0] is not layer:  # one model as long as the layer lives
                self._inside = layer, self.model(layer)
            self.freeze(self._inside[1], action.name == "freeze_model")
        else:
            raise ValueError(f"no action {action.name!r} is known; allowed: {', '.join(ACTIONS)}")
        return layer

    def reset(self, layer: Any) -> None:
        """Set the running statistics to those of a new layer."""
        raise NotImplementedError

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        """A new layer, constructed from ``case``, that has read the state that ``layer`` has written."""
        raise NotImplementedError

    def model(self, layer: Any) -> Any:
        """A model that has ``layer`` as its only layer."""
        raise NotImplementedError

    def freeze(self, layer: Any, frozen: bool) -> None:
        """Take the parameters of a layer or a model out of training, or back in."""
        raise NotImplementedError

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        """The layer, which uses another momentum from now on."""
        raise NotImplementedError

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: Any, parameters: Mapping[str, Array]
    ) -> None:
        """Give the parameters and running statistics of these canonical names other values."""
        raise NotImplementedError

    def trainable(self, layer: Any) -> Iterable[str]:
        """The canonical names of what an optimizer is given."""
        raise NotImplementedError


def bare(case: Case) -> Case:
    """The case of a new layer constructed alike: its parameters are the initial ones."""
    return replace(case, parameters={})
