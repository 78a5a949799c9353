"""Modules that know how they are initialised."""

from __future__ import annotations

import copy
from abc import ABCMeta
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from drivetrain.logging import print_log
from drivetrain.registry import set_sequential_container

from ._init_info import end_notes, start_notes, update_init_info, write_notes
from ._initialize import initialize


class BaseModule(nn.Module, metaclass=ABCMeta):
    """A module with a description of its initial weights.

    `init_weights()` applies it once: first this module's own `init_cfg`, then the children's, last what a `Pretrained`
    entry loads. Only direct children with an `init_weights` are visited, so put modules into this room's `Sequential`,
    `ModuleList` and `ModuleDict`, which pass the call on.

    Args:
        init_cfg: a config or a list of configs, see `initialize`; None leaves the weights as the constructor made them.
    """

    def __init__(self, init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None) -> None:
        super().__init__()
        self._is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether `init_weights` has run; set it to False to allow it again."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        """Allow `init_weights` again, or forbid it."""
        self._is_init = value

    def init_weights(self) -> None:
        """Initialise this module and its children; a second call only warns.

        The call on the outermost module writes to the log file how each parameter got its value.
        """
        outermost = not hasattr(self, "_params_init_info")
        if outermost:
            start_notes(self)
        try:
            if self.is_init:
                _warn_second_call(self)
            else:
                self._init_own_and_children()
                self.is_init = True
                if outermost:
                    _warn_unreached(self)
            if outermost:
                self._dump_init_info()
        finally:
            if outermost:
                end_notes(self)

    def _init_own_and_children(self) -> None:
        configs: list[Any] = self.init_cfg if type(self.init_cfg) is list else [self.init_cfg] if self.init_cfg else []
        late = [cfg for cfg in configs if _is_pretrained(cfg)]
        early = [cfg for cfg in configs if not _is_pretrained(cfg)]
        if early:
            initialize(self, early)
        for child in self.children():
            if hasattr(child, "init_weights") and not getattr(child, "is_init", False):
                child.init_weights()  # type: ignore[operator]
                update_init_info(child, f"Initialized by user-defined `init_weights` in {type(child).__name__} ")
        if late:
            initialize(self, late)

    def _dump_init_info(self) -> None:
        write_notes(self, self._params_init_info)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        """The module tree, and below it the `init_cfg`."""
        tree = super().__repr__()
        return f"{tree}\ninit_cfg={self.init_cfg}" if self.init_cfg else tree


class Sequential(BaseModule, nn.Sequential):
    """`nn.Sequential` that passes `init_weights` on.

    Args:
        *args: modules, or one ordered dict of them.
        init_cfg: see `BaseModule`.
    """

    def __init__(self, *args: Any, init_cfg: dict[str, Any] | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.Sequential.__init__(self, *args)


class ModuleList(BaseModule, nn.ModuleList):
    """`nn.ModuleList` that passes `init_weights` on.

    Args:
        modules: the modules.
        init_cfg: see `BaseModule`.
    """

    def __init__(self, modules: Iterable[nn.Module] | None = None, init_cfg: dict[str, Any] | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleList.__init__(self, modules)


class ModuleDict(BaseModule, nn.ModuleDict):
    """`nn.ModuleDict` that passes `init_weights` on.

    Args:
        modules: modules by name.
        init_cfg: see `BaseModule`.
    """

    def __init__(self, modules: dict[str, nn.Module] | None = None, init_cfg: dict[str, Any] | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleDict.__init__(self, modules)


def _is_pretrained(cfg: Any) -> bool:
    kind = cfg.get("type") if hasattr(cfg, "get") else None
    return kind == "Pretrained" or getattr(kind, "__name__", None) == "PretrainedInit"


def _warn_second_call(module: nn.Module) -> None:
    print_log(
        f"init_weights of {type(module).__name__} has been called more than once, and does nothing now. Set "
        "is_init = False to initialise again.",
        logger="current",
        level=30,
    )


def _warn_unreached(top: nn.Module) -> None:
    names = list(_unreached(top))
    if names:
        print_log(
            f"the init_cfg of {', '.join(names)} was not applied: init_weights() does not look inside torch's own "
            "containers. Use Sequential, ModuleList or ModuleDict of drivetrain.model instead.",
            logger="current",
            level=30,
        )


def _unreached(top: nn.Module) -> Iterator[str]:
    """Names of modules with an `init_cfg` that sit in a plain container and were left out."""
    for name, container in top.named_modules():
        if hasattr(container, "init_weights") or type(container) not in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            continue
        for child_name, child in container.named_children():
            if getattr(child, "init_cfg", None) and not getattr(child, "is_init", True):
                yield f"{name}.{child_name} ({type(child).__name__})"


set_sequential_container(Sequential)
