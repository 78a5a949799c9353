"""What takes long to import, imported when its name is first used: optimizers of other packages, and ZeRO.

`OPTIMIZERS.get('Lion')` imports lion_pytorch, and `LION_OPTIMIZERS` reads as the list of what it has. Importing this
room imports none of them. torch's ZeRO, which the compiler of TorchScript comes with, takes most of a second.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from drivetrain.errors import BuildError, MissingAttributeError, did_you_mean
from drivetrain.registry import OPTIMIZERS, OPTIONAL_OPTIMIZERS, OptionalPackage, packages_of

from ._apex import find_amp
from ._torch import optimizers_in, register

_BY_NAME = {package.name: package for package in OPTIONAL_OPTIMIZERS}
_ZERO = "ZeroRedundancyOptimizer"
_registered: dict[str, list[str]] = {}


def register_torch_npu_optimizers() -> list[str]:
    """Register the optimizers of torch_npu, if it is installed, and return their names."""
    return _register_package(_BY_NAME["npu"])


def register_dadaptation_optimizers() -> list[str]:
    """Register the D-Adaptation optimizers of dadaptation, if it is installed, and return their names."""
    return _register_package(_BY_NAME["dadaptation"])


def register_lion_optimizers() -> list[str]:
    """Register Lion of lion_pytorch, if it is installed, and return its name."""
    return _register_package(_BY_NAME["lion"])


def register_sophia_optimizers() -> list[str]:
    """Register the optimizers of Sophia, if it is installed, and return their names."""
    return _register_package(_BY_NAME["sophia"])


def register_bitsandbytes_optimizers() -> list[str]:
    """Register the optimizers of bitsandbytes, if it is installed, and return their names.

    A name that torch or lion_pytorch has already is registered with 'bnb_' before it, as in 'bnb_AdamW'.
    """
    register_lion_optimizers()
    return _register_package(_BY_NAME["bitsandbytes"], prefix="bnb_")


def register_transformers_optimizers() -> list[str]:
    """Register Adafactor of transformers, if it is installed, and return its name."""
    return _register_package(_BY_NAME["transformers"])


_REGISTER: dict[str, Callable[[], list[str]]] = {
    "npu": register_torch_npu_optimizers,
    "dadaptation": register_dadaptation_optimizers,
    "lion": register_lion_optimizers,
    "sophia": register_sophia_optimizers,
    "bitsandbytes": register_bitsandbytes_optimizers,
    "transformers": register_transformers_optimizers,
}


def _zero() -> Any:
    from ._zero import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer


_LATE: dict[str, Callable[[], Any]] = {
    _ZERO: _zero,
    "apex_amp": find_amp,
    **{f"{name.upper()}_OPTIMIZERS": function for name, function in _REGISTER.items()},
}


def late_name(module: str, name: str) -> Any:
    """What a module gives for a name that stands for something that is imported only now.

    `LION_OPTIMIZERS` and the like are the names of what is registered from there, empty when the package is not
    installed; `apex_amp` is the module or None.

    Raises:
        MissingAttributeError: there is no such name.
    """
    if name not in _LATE:
        raise MissingAttributeError(f"module {module!r} has no attribute {name!r}.{did_you_mean(name, _LATE)}")
    return _LATE[name]()


def find_optimizer(name: str) -> Any:
    """ZeRO, or the optimizer of that name from the first installed package that has it, or None."""
    if name == _ZERO:
        return _zero()
    for package in packages_of(name):
        _REGISTER[package.name]()
        if name in OPTIMIZERS.module_dict:
            return OPTIMIZERS.module_dict[name]
    return None


def _register_package(package: OptionalPackage, prefix: str = "") -> list[str]:
    names = _registered.get(package.module)
    if names is None:
        module = _import(package)
        if module is None:
            return []
        names = _registered[package.module] = [
            register(_free_name(name, cls, prefix), cls) for name, cls in _classes(package, module).items()
        ]
    return list(names)


def _import(package: OptionalPackage) -> Any:
    """The module, or None when the package is not installed.

    Raises:
        BuildError: it is installed, and importing it raised.
    """
    if not package.is_installed:
        return None
    try:
        return importlib.import_module(package.module)
    except Exception as error:
        raise BuildError(
            f"importing {package.module!r} for its optimizers raised {type(error).__name__}: {error}. The package is "
            "installed and does not work here: repair it or remove it."
        ) from error


def _classes(package: OptionalPackage, module: Any) -> dict[str, type[torch.optim.Optimizer]]:
    """The optimizers of a module, without torch's own that it imports for itself."""
    found = optimizers_in(vars(module))
    foreign = {name: cls for name, cls in found.items() if getattr(torch.optim, name, None) is not cls}
    if package.name == "bitsandbytes":
        return foreign
    return {name: cls for name, cls in foreign.items() if package in packages_of(name)}


def _free_name(name: str, cls: type, prefix: str) -> str:
    taken = OPTIMIZERS.module_dict.get(name, cls) is not cls
    return f"{prefix}{name}" if taken else name


OPTIMIZERS.set_late_finder(find_optimizer)
