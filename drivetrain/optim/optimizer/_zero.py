"""ZeRO stage 1: each process keeps the optimizer state of its share of the parameters."""

from __future__ import annotations

from itertools import count
from typing import Any

from torch import distributed
from torch.distributed.optim import ZeroRedundancyOptimizer as _ZeroRedundancyOptimizer

from drivetrain.errors import ArgumentTypeError, NotFoundError, NotReadyError, did_you_mean
from drivetrain.registry import OPTIMIZERS
from drivetrain.typing import StateDict


@OPTIMIZERS.register_module()
class ZeroRedundancyOptimizer(_ZeroRedundancyOptimizer):
    """An optimizer whose state (momenta, variances) is split over the processes, as is its update.

    Every process has all parameters and, from the wrapper of the model, all gradients; it updates its share, and the
    others get the result. The weights are those of the plain optimizer. The class is torch's; what is added: it is
    built from a name, and its state is gathered when it is asked for.

    Args:
        params: parameters, or groups of them.
        optimizer_type: registered name of the optimizer ('AdamW'), or its class.
        kwargs: for the optimizer, such as `lr`; `parameters_as_bucket_view` and the like are torch's.

    Raises:
        NotReadyError: there is no process group.
        NotFoundError: no optimizer has that name.
        ArgumentTypeError: `optimizer_type` is neither a name nor a class.
    """

    def __init__(self, params: Any, optimizer_type: str, **kwargs: Any) -> None:
        _check_process_group()
        super().__init__(params, optimizer_class=_optimizer_class(optimizer_type), **kwargs)
        # torch's class knows the given settings alone; schedules also read those that the optimizer fills in.
        self.defaults = dict(self.optim.defaults)

    def state_dict(self) -> StateDict:
        """The whole state, on the first process; every process must call this, and the others get the groups alone."""
        self.consolidate_state_dict(to=0)
        if distributed.get_rank(self.process_group) == 0:
            state: StateDict = super().state_dict()
            return state
        numbers = count()
        groups = [{**group, "params": [next(numbers) for _ in group["params"]]} for group in self.param_groups]
        return {"state": {}, "param_groups": groups}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over this process's share of a whole state; `state_dict` itself is left as it is."""
        # torch's method strikes the shares of the others out of what it is given.
        super().load_state_dict({**state_dict, "state": dict(state_dict["state"])})


def _check_process_group() -> None:
    if not (distributed.is_available() and distributed.is_initialized()):
        raise NotReadyError(
            "ZeroRedundancyOptimizer splits the optimizer's state over processes, and there is no process group. Start "
            "the run with several processes (torchrun, launcher='pytorch'), or use the optimizer itself: "
            "optimizer=dict(type='AdamW', ...) instead of dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', "
            "...)."
        )


def _optimizer_class(optimizer_type: Any) -> Any:
    if type(optimizer_type) is not str:
        if not callable(optimizer_type):
            raise ArgumentTypeError(f"optimizer_type must be the name of an optimizer, got {optimizer_type!r}.")
        return optimizer_type
    found = OPTIMIZERS.get(optimizer_type)
    if found is None:
        near = did_you_mean(optimizer_type, OPTIMIZERS.module_dict)
        raise NotFoundError(f"optimizer_type={optimizer_type!r} is no optimizer.{near}")
    return found
