"""`step` and `zero_grad` of torch's optimizers without the profiler's label, where nobody would see the label.

torch wraps `step` in a function that opens a label, calls step hooks and closes the label: 10 to 25 us among the work
of a real step, for a line in a profile that nobody takes. Where there are no hooks and no profiler, the function inside
does the same. A wrapper that torch has changed, which may do more, is left as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch.autograd import profiler
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

# Of torch 2.9 to 2.14. What the wrapper does is told by the names it uses: one more, and it is not this wrapper.
_KNOWN_WRAPPER = {
    "cast", "Optimizer", "__class__", "__name__", "torch", "autograd", "profiler", "record_function", "chain",
    "_global_optimizer_pre_hooks", "values", "_optimizer_step_pre_hooks", "isinstance", "tuple", "len", "RuntimeError",
    "_optimizer_step_code", "_optimizer_step_post_hooks", "_global_optimizer_post_hooks",
}  # fmt: skip
_before_all: Any = getattr(torch_optimizer, "_global_optimizer_pre_hooks", True)
_after_all: Any = getattr(torch_optimizer, "_global_optimizer_post_hooks", True)


def quick_step(optimizer: Optimizer, kwargs: dict[str, Any]) -> None:
    """`optimizer.step(**kwargs)`."""
    inner = _inside(type(optimizer).step)
    if inner is None or _is_watched(optimizer):
        optimizer.step(**kwargs)
    else:
        inner(optimizer, **kwargs)


def quick_zero_grad(optimizer: Optimizer, kwargs: dict[str, Any]) -> None:
    """`optimizer.zero_grad(**kwargs)`, without its label and its guard against compilers."""
    is_torchs = getattr(optimizer.zero_grad, "__func__", None) is Optimizer.zero_grad
    if kwargs or not is_torchs or getattr(profiler, "_is_profiler_enabled", True):
        optimizer.zero_grad(**kwargs)
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


@functools.cache
def _inside(step: Any) -> Callable[..., Any] | None:
    """The function that torch's wrapper calls; None where `step` is not that wrapper."""
    names = getattr(getattr(step, "__code__", None), "co_names", ())
    is_known = getattr(step, "hooked", False) and set(names) == _KNOWN_WRAPPER
    return getattr(step, "__wrapped__", None) if is_known else None


def _is_watched(optimizer: Any) -> bool:
    """Whether somebody would notice: a profiler, a hook, or who has put another `step` on the object."""
    return bool(
        getattr(profiler, "_is_profiler_enabled", True)
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _before_all
        or _after_all
        or "step" in vars(optimizer)
    )
