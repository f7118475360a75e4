"""Names of frameworks and implementations on the command line; an unknown name is rejected with similar names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from normgauge.adapters.base import Adapter
from normgauge.adapters.callables.adapter import CallableAdapter, with_words
from normgauge.adapters.registry import NoAdapter, load_adapter, not_known, registered
from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.run.request import is_named
from normgauge.conformance.subjects.subject import Launch


def adapter_of(framework: str) -> type[Adapter]:
    try:
        return load_adapter(framework)
    except NoAdapter as error:
        raise Mistake(str(error)) from None


def loadable() -> dict[str, type[Adapter] | str]:
    """Every registered adapter, or the reason why it cannot be loaded; one broken adapter disables no other."""
    found: dict[str, type[Adapter] | str] = {}
    for name in sorted(registered()):
        try:
            found[name] = adapter_of(name)
        except Mistake as mistake:
            found[name] = mistake.message
    return found


def framework_of(implementation: str) -> str:
    known = {
        one.id: name
        for name, adapter in loadable().items()
        if not isinstance(adapter, str)
        for one in adapter.implementations
    }
    if implementation not in known:
        unknown("implementation", implementation, sorted(known))
    return known[implementation]


def function_of(path: str, words: Mapping[str, str]) -> tuple[str, str]:
    """``module:function`` with words on it, as the name of a framework, and the id of its one implementation.

    Raises:
        Mistake: there is no such function, or it cannot be called as a layer.
    """
    name = with_words(path, words)
    adapter = adapter_of(name)
    if not issubclass(adapter, CallableAdapter):
        id_ = adapter.implementations[0].id if adapter.implementations else "ID"
        raise Mistake(f"{path} is an adapter; give one of its layers: normgauge diagnose {id_} --framework {path}")
    return name, adapter.implementations[0].id


def known_of(launch: Launch) -> list[str]:
    """The implementations of a framework, as far as they are known before it is started."""
    return [] if launch.program else [one.id for one in adapter_of(launch.framework).implementations]


def selected_of(launch: Launch, implementations: Sequence[str]) -> tuple[str, ...]:
    """The ids and patterns that apply to this framework; for a program of --exec, all of them."""
    known = known_of(launch)
    return tuple(
        one for one in implementations if launch.program or any(is_named(identifier, [one]) for identifier in known)
    )


def check_selection(launches: Sequence[Launch], implementations: Sequence[str]) -> None:
    """Reject ids that no framework has, as far as they are known before the worker starts.

    Raises:
        Mistake: an id or a pattern matches no implementation.
    """
    known = [identifier for launch in launches for identifier in known_of(launch)]
    listed = all(launch.framework in registered() for launch in launches)
    for one in implementations:
        if not any(selected_of(launch, [one]) for launch in launches):
            unknown("implementation", one, known, listed=listed)


def unknown(what: str, given: str, known: Sequence[str], *, listed: bool = True) -> NoReturn:
    raise Mistake(not_known(what, given, known, listed=listed))
