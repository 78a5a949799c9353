"""What a run's whole config says beside the runner's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.model import convert_sync_batchnorm, find_parts, turn_on_efficient_conv_bn_eval
from drivetrain.typing import ConfigType

from .activation_checkpointing import turn_on_activation_checkpointing

_SYNC_BN = ("torch", "mmcv")


@dataclass(frozen=True)
class FromConfig:
    """The keys that a runner reads straight from its config.

    Args:
        model_wrapper_cfg: config of the wrapper that spreads the model over processes.
        sync_bn: 'torch' or 'mmcv': make batch norms synchronised ones, where there are several processes.
        find_unused_parameters: whether the default wrapper looks for parameters that a loss does not depend on.
        compile: as the runner's argument, which goes first.
        activation_checkpointing: names of modules whose activations are computed again in backward.
        efficient_conv_bn_eval: names of modules in which batch norms in eval mode are folded into their convolutions.

    Raises:
        ArgumentError, ArgumentTypeError: a value is wrong.
    """

    model_wrapper_cfg: dict[str, Any] | None = None
    sync_bn: str | None = None
    find_unused_parameters: bool = False
    compile: bool | dict[str, Any] = False
    activation_checkpointing: list[str] | str | None = None
    efficient_conv_bn_eval: list[str] | str | None = None

    @classmethod
    def read(cls, cfg: Mapping[str, Any] | None) -> FromConfig:
        """The keys of `cfg` that are meant."""
        given = cfg if cfg is not None else {}
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})

    def __post_init__(self) -> None:
        if self.sync_bn is not None and self.sync_bn not in _SYNC_BN:
            raise ArgumentError(
                f"the config's sync_bn must be 'torch' or 'mmcv', got {self.sync_bn!r}."
                f"{did_you_mean(str(self.sync_bn), _SYNC_BN)}"
            )
        wrapper = self.model_wrapper_cfg
        if wrapper is not None and (not hasattr(wrapper, "keys") or "type" not in wrapper):
            raise ArgumentTypeError(
                "the config's model_wrapper_cfg must be a dict such as dict(type='MMDistributedDataParallel', "
                f"find_unused_parameters=True), got {wrapper!r}."
            )

    def compile_or(self, argument: bool | dict[str, Any]) -> bool | dict[str, Any]:
        """What to compile: the runner's argument, or this key where that is not given."""
        return self.compile if argument is False else argument

    def check_names(self, model: nn.Module) -> None:
        """Refuse names of modules that the model does not have, before anything is trained.

        Raises:
            MissingAttributeError: there is no such module.
        """
        for option in ("activation_checkpointing", "efficient_conv_bn_eval"):
            if getattr(self, option):
                find_parts(model, getattr(self, option), option)

    def turn_on(self, model: nn.Module) -> None:
        """Change what forward and backward of the model keep, after its weights are initialised."""
        if self.activation_checkpointing:
            turn_on_activation_checkpointing(model, self.activation_checkpointing)
        if self.efficient_conv_bn_eval:
            turn_on_efficient_conv_bn_eval(model, self.efficient_conv_bn_eval)

    def place(self, runner: Any, model: nn.Module, model_wrapper_cfg: ConfigType | None) -> nn.Module:
        """Have the strategy place and wrap the model.

        One process has nobody to share gradients or statistics with: there the model stays itself.
        """
        if not runner.distributed:
            if model_wrapper_cfg is not None:
                runner.logger.info(f"One process: model_wrapper_cfg={dict(model_wrapper_cfg)!r} has nothing to do.")
            return runner.strategy.prepare_model(model)
        if self.sync_bn is not None:
            model = convert_sync_batchnorm(model, self.sync_bn)
        return runner.strategy.prepare_model(model, model_wrapper_cfg or self._default_wrapper())

    def _default_wrapper(self) -> ConfigType | None:
        """The wrapper to ask for; None leaves it to the strategy."""
        if not self.find_unused_parameters:
            return None
        return {"type": "MMDistributedDataParallel", "broadcast_buffers": False, "find_unused_parameters": True}
