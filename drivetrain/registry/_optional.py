"""Optimizers of other packages: which package brings a name, so that it can be loaded on first use, or asked for."""

from __future__ import annotations

import importlib.util
from fnmatch import fnmatchcase
from typing import NamedTuple


class OptionalPackage(NamedTuple):
    """A package with optimizers.

    Attributes:
        name: what the list of its optimizers is called after.
        module: where its classes are.
        install: how it is installed, after `pip install`.
        patterns: names of its classes, as globs.
    """

    name: str
    module: str
    install: str
    patterns: tuple[str, ...]

    @property
    def is_installed(self) -> bool:
        """Whether the package can be found; it is not imported."""
        try:
            return importlib.util.find_spec(self.module.partition(".")[0]) is not None
        except ValueError:  # a module in sys.modules without a spec
            return True


OPTIONAL_OPTIMIZERS = (
    OptionalPackage("npu", "torch_npu.optim", "torch-npu", ("Npu*",)),
    OptionalPackage("dadaptation", "dadaptation", "dadaptation", ("DAdapt*",)),
    OptionalPackage("lion", "lion_pytorch", "lion-pytorch", ("Lion",)),
    OptionalPackage("sophia", "Sophia", "Sophia-Optimizer", ("Sophia*",)),
    OptionalPackage(
        "bitsandbytes",
        "bitsandbytes.optim",
        "bitsandbytes",
        ("bnb_*", "*8bit", "*32bit", "Paged*", "PytorchLARS", "LAMB", "LARS", "AdEMAMix", "Lion"),
    ),
    OptionalPackage("transformers", "transformers.optimization", "transformers", ("Adafactor",)),
)
"""In the order in which they are registered, which decides who gets a name that two packages have."""


def packages_of(name: str) -> list[OptionalPackage]:
    """The packages that may bring an optimizer of this name, the one to prefer first."""
    return [
        package for package in OPTIONAL_OPTIMIZERS if any(fnmatchcase(name, pattern) for pattern in package.patterns)
    ]
