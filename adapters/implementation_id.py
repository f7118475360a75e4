"""The name of an implementation: class, options, backend and mode, printed and read in this one place.

    class.path(option=value)[backend][mode]

Options, backend and mode are left out where there are none; ``eager`` is no mode. A backend and a mode look alike, so
an id is read beside the mode that its adapter or worker tells: the last bracket is the mode's where it names that mode,
any other is the backend's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EAGER: Final = "eager"
_FORM: Final = re.compile(r"(?P<class_path>[^(\[]*)(\((?P<options>.*)\))?(\[(?P<backend>[^\[\]]*)\])?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ImplementationId:
    """Which layer is constructed and how it is run; ``options`` are arguments of the constructor, as text."""

    class_path: str
    options: str = ""
    backend: str = ""
    mode: str = EAGER

    def __str__(self) -> str:
        options = f"({self.options})" if self.options else ""
        brackets = (self.backend, "" if self.mode == EAGER else self.mode)
        return f"{self.class_path}{options}{''.join(f'[{one}]' for one in brackets if one)}"

    @classmethod
    def parse(cls, text: str, mode: str = EAGER) -> ImplementationId:
        """The id of an implementation that is run in ``mode``. A text of another form is a class path as a whole."""
        found = _FORM.fullmatch(text if mode == EAGER else text.removesuffix(f"[{mode}]"))
        if found is None:
            return cls(class_path=text, mode=mode)
        return cls(mode=mode, **found.groupdict(default=""))

    @property
    def package(self) -> str:
        """The first name of the class path, such as ``torch``."""
        return self.class_path.partition(".")[0]

    @property
    def module(self) -> str:
        """The class path without its last part."""
        return self.class_path.rpartition(".")[0]

    @property
    def class_name(self) -> str:
        """The last part of the class path."""
        return self.class_path.rpartition(".")[2]
