"""One user's program and its state on one face: what a person does with a command line."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.faces.model import (
    PATIENCE_S,
    Declared,
    Face,
    Plan,
    Planned,
    Program,
    Refused,
    resolved,
)


class Running(ABC):
    """An apply that is under way."""

    @abstractmethod
    def interrupt(self) -> None:
        """Ctrl-C."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL, to the command line and to the provider."""

    @abstractmethod
    def wait(self) -> str:
        """Its end; raises Refused where it failed."""


class Stack(ABC):
    """A program and its state. What the engine says no to is raised as Refused."""

    face: Face
    is_elsewhere = False
    """Whether it speaks to another engine than at first."""

    @abstractmethod
    def plan(self, program: Program) -> Plan:
        """What an apply would do, by label."""

    @abstractmethod
    def apply(self, program: Program) -> None:
        """Make the program true."""

    @abstractmethod
    def begin(self, program: Program) -> Running:
        """An apply in the background."""

    @abstractmethod
    def refresh(self) -> None:
        """See what is there now."""

    @abstractmethod
    def bring_in(self, program: Program, ids: Mapping[str, str]) -> None:
        """Import what is there, by id or by name; the program declares it."""

    @abstractmethod
    def ids(self) -> Mapping[str, str]:
        """What the state holds, by label."""

    @abstractmethod
    def outputs(self, label: str) -> Mapping[str, Any]:
        """One resource's properties; what is secret is left out."""

    @abstractmethod
    def reach(self, endpoint: str, **variables: str) -> None:
        """Speak to this engine from now on, from a process with these variables."""

    def destroy(self) -> None:
        """Take everything down again."""
        self.apply([])


class CommandStack(Stack):
    """A stack behind a real command line, which can do more than a provider is asked for."""

    @abstractmethod
    def at_rest(self) -> str:
        """The state as it is kept: what is encrypted in it cannot be read."""

    @abstractmethod
    def replace_by_hand(self, program: Program, label: str) -> None:
        """Replace one resource although nothing of it changed."""

    @abstractmethod
    def recover(self) -> None:
        """What the ecosystem asks of a user whose command was killed, before the next one."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of everything without taking it down."""


@dataclass(kw_only=True)
class Kept:
    """One resource in a state; ``properties`` are as the ecosystem keeps them."""

    declared: Declared
    id: str
    properties: Any
    inputs: Mapping[str, Any] = field(default_factory=dict)
    half_made: bool = False


class HalfMade(Refused):
    """A create that began something, which the ecosystem keeps."""

    def __init__(self, refused: Refused, *, kept: Kept) -> None:
        super().__init__(refused.text, paths=refused.paths)
        self.kept = kept


class Provider(ABC):
    """One provider process, spoken to as its ecosystem does: one resource at a time."""

    face: Face

    def for_user(self, stack: str) -> Provider:
        """It as another user's program drives it."""
        return self

    @abstractmethod
    def plan(self, declared: Declared, prior: Kept | None) -> Planned:
        """Check and compare. Raises Refused with the paths that are wrong."""

    @abstractmethod
    def create(self, declared: Declared) -> Kept:
        """Make it. Raises Refused, HalfMade where something is kept."""

    @abstractmethod
    def update(self, declared: Declared, prior: Kept) -> Kept:
        """Change it in place."""

    @abstractmethod
    def read(self, kept: Kept) -> Kept | None:
        """It as it is now; None where it is gone."""

    @abstractmethod
    def find(self, declared: Declared, reference: str) -> Kept:
        """Import it by id or name."""

    @abstractmethod
    def delete(self, kept: Kept) -> None:
        """Delete or release it."""

    @abstractmethod
    def outputs(self, kept: Kept) -> Mapping[str, Any]:
        """All its properties by declared name, without secrets."""


class ProviderStack(Stack):
    """A state of our own, and a provider process that is asked as the ecosystem's engine asks it.

    Creations and changes in the program's order, deletions after them in the reverse one; a
    replacement deletes first. ``open_provider`` starts another process, for another engine.
    """

    def __init__(self, provider: Provider, open_provider: Callable[..., Provider]) -> None:
        self.face = provider.face
        self._provider = provider
        self._open = open_provider
        self._state: dict[str, Kept] = {}

    def plan(self, program: Program) -> Plan:
        found = {
            each.label: self._provider.plan(each, self._state.get(each.label))
            for each in _settled(program)
        }
        gone = {label: Planned(action="delete") for label in self._state if label not in found}
        return {**found, **gone}

    def apply(self, program: Program) -> None:
        settled = _settled(program)
        for each in settled:
            self._apply_one(each)
        wanted = {each.label for each in settled}
        for label in [label for label in reversed(self._state) if label not in wanted]:
            self._provider.delete(self._state[label])
            del self._state[label]

    def begin(self, program: Program) -> Running:
        return _Thread(lambda: self.apply(program))

    def refresh(self) -> None:
        seen = {label: self._provider.read(kept) for label, kept in self._state.items()}
        self._state = {label: kept for label, kept in seen.items() if kept is not None}

    def bring_in(self, program: Program, ids: Mapping[str, str]) -> None:
        for each in _settled(program):
            if each.label in ids:
                self._state[each.label] = self._provider.find(each, ids[each.label])

    def ids(self) -> Mapping[str, str]:
        return {label: kept.id for label, kept in self._state.items()}

    def outputs(self, label: str) -> Mapping[str, Any]:
        return self._provider.outputs(self._state[label])

    def reach(self, endpoint: str, **variables: str) -> None:
        self._provider = self._open(endpoint, **variables)
        self.is_elsewhere = True

    def _apply_one(self, declared: Declared) -> None:
        prior = self._state.get(declared.label)
        planned = self._provider.plan(declared, prior)
        if planned.action == "replace" and prior is not None:
            self._provider.delete(prior)
            del self._state[declared.label]
            prior = None
        if prior is None:
            self._create(declared)
        elif planned.action == "update":
            self._state[declared.label] = self._provider.update(declared, prior)

    def _create(self, declared: Declared) -> None:
        try:
            self._state[declared.label] = self._provider.create(declared)
        except HalfMade as half:
            self._state[declared.label] = half.kept
            raise


def _settled(program: Program) -> Sequence[Declared]:
    names = {each.label: each.inputs.get("name") for each in program}
    return [
        Declared(
            kind=each.kind,
            label=each.label,
            inputs=resolved(each.inputs, names),
            create_timeout_s=each.create_timeout_s,
        )
        for each in program
    ]


class _Thread(Running):
    """An apply on a thread; a provider's process is stopped by its own means."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._done: Future[None] = Future()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed on to who waits
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    def interrupt(self) -> None:
        raise NotImplementedError("Ctrl-C is the command line's: drive the case by it")

    def kill(self) -> None:
        raise NotImplementedError("SIGKILL is the command line's: drive the case by it")

    def wait(self) -> str:
        self._done.result(PATIENCE_S)
        return ""


def attempt(work: Callable[[], object]) -> Refused | None:
    """Do it; what the user was told where it was refused."""
    try:
        work()
    except Refused as refused:
        return refused
    return None


def at_once(*work: Callable[[], object]) -> Sequence[Refused | None]:
    """Do it all at the same time; what was refused stands in its place."""
    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(attempt, work))
