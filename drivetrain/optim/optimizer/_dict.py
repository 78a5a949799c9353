"""Several optimizer wrappers under one roof, for a model with several optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from torch import Tensor, nn

from drivetrain.errors import ArgumentTypeError, MissingAttributeError, NotFoundError, NotSupportedError, did_you_mean
from drivetrain.typing import StateDict

from ._wrapper import OptimWrapper


class OptimWrapperDict(OptimWrapper):
    """Holds optimizer wrappers by name. A model's `train_step` updates through each of them: `optim_wrapper['gen']`.

    Args:
        optim_wrapper_dict: the wrappers by name.

    Raises:
        ArgumentTypeError: a value is not an `OptimWrapper`.

    >>> import torch
    >>> from drivetrain.optim import OptimWrapper, OptimWrapperDict
    >>> gen = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
    >>> OptimWrapperDict(gen=gen).get_lr()
    {'gen.lr': [0.1]}
    """

    def __init__(self, **optim_wrapper_dict: OptimWrapper) -> None:
        for name, wrapper in optim_wrapper_dict.items():
            if not isinstance(wrapper, OptimWrapper):
                raise ArgumentTypeError(
                    f"OptimWrapperDict holds OptimWrapper objects, and {name!r} is a {type(wrapper).__name__}: "
                    f"{wrapper!r}."
                )
        self.optim_wrappers = optim_wrapper_dict

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
        *,
        count: Any = None,
    ) -> NoReturn:
        """Each wrapper has its own loss.

        Raises:
            NotSupportedError: always.
        """
        self._refuse("update_params")

    def backward(self, loss: Tensor, **kwargs: Any) -> NoReturn:
        """Each wrapper has its own loss.

        Raises:
            NotSupportedError: always.
        """
        self._refuse("backward")

    def step(self, **kwargs: Any) -> NoReturn:
        """Each wrapper steps when its own window is full.

        Raises:
            NotSupportedError: always.
        """
        self._refuse("step")

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients of all optimizers."""
        for wrapper in self.optim_wrappers.values():
            wrapper.zero_grad(**kwargs)

    def optim_context(self, model: nn.Module) -> NoReturn:
        """Each wrapper has its own context.

        Raises:
            NotSupportedError: always.
        """
        self._refuse("optim_context")

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Do nothing: how often a wrapper is used in an iteration is known to the model alone."""

    @property
    def updated(self) -> bool:  # type: ignore[override]
        """Whether any of the wrappers changed its weights when it was last used."""
        return any(wrapper.updated for wrapper in self.optim_wrappers.values())

    @property
    def updates(self) -> int:  # type: ignore[override]
        """Updates of the wrapper that has made the most."""
        return max((wrapper.updates for wrapper in self.optim_wrappers.values()), default=0)

    @property
    def step_skipped(self) -> bool:  # type: ignore[override]
        """Whether any of the wrappers left out its last update."""
        return any(wrapper.step_skipped for wrapper in self.optim_wrappers.values())

    @property
    def skipped_in_row(self) -> int:  # type: ignore[override]
        """The most updates that one of the wrappers has left out since its last one."""
        return max((wrapper.skipped_in_row for wrapper in self.optim_wrappers.values()), default=0)

    @property
    def skip_non_finite(self) -> bool:
        """Whether all wrappers leave out updates whose gradients are not finite; setting it sets it for all."""
        return all(wrapper.skip_non_finite for wrapper in self.optim_wrappers.values())

    @skip_non_finite.setter
    def skip_non_finite(self, value: bool) -> None:
        """Set it for all wrappers."""
        for wrapper in self.optim_wrappers.values():
            wrapper.skip_non_finite = value

    @property
    def param_groups(self) -> dict[str, list[dict[str, Any]]]:  # type: ignore[override]
        """The parameter groups of each wrapper, by its name."""
        return {name: wrapper.param_groups for name, wrapper in self.optim_wrappers.items()}

    def get_lr(self) -> dict[str, list[Any]]:
        """Learning rates, as '<name>.lr' and '<name>.base_lr'."""
        return self._prefixed("get_lr")

    def get_momentum(self) -> dict[str, list[float]]:
        """Momenta, as '<name>.momentum'."""
        return self._prefixed("get_momentum")

    def state_dict(self) -> StateDict:
        """The state of each wrapper, by its name."""
        return {name: wrapper.state_dict() for name, wrapper in self.optim_wrappers.items()}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over the states by name.

        Raises:
            NotFoundError: a state has no wrapper here, or a wrapper has no state there.
        """
        strangers = [name for name in state_dict if name not in self.optim_wrappers]
        missing = [name for name in self.optim_wrappers if name not in state_dict]
        if strangers or missing:
            raise NotFoundError(
                f"the state is for the optimizers {list(state_dict)}, and these are {list(self.optim_wrappers)}."
            )
        for name, state in state_dict.items():
            self.optim_wrappers[name].load_state_dict(state)

    def window_state(self) -> StateDict | None:
        """What the open accumulation windows have gathered, by the wrapper's name; None where none is open."""
        states = {name: wrapper.window_state() for name, wrapper in self.optim_wrappers.items()}
        return {name: state for name, state in states.items() if state is not None} or None

    def load_window_state(self, state: StateDict | None) -> None:
        """Go on inside the windows that were saved.

        Raises:
            CheckpointError: the gradients are of other parameters.
        """
        for name, wrapper in self.optim_wrappers.items():
            wrapper.load_window_state((state or {}).get(name))

    def items(self) -> Iterator[tuple[str, OptimWrapper]]:
        """Names and wrappers, in order."""
        yield from self.optim_wrappers.items()

    def values(self) -> Iterator[OptimWrapper]:
        """The wrappers, in order."""
        yield from self.optim_wrappers.values()

    def keys(self) -> Iterator[str]:
        """The names, in order."""
        yield from self.optim_wrappers.keys()

    def __getitem__(self, key: str) -> OptimWrapper:
        if key not in self.optim_wrappers:
            raise NotFoundError(
                f"there is no optimizer {key!r}; there are {', '.join(self.optim_wrappers) or 'none'}."
                f"{did_you_mean(key, self.optim_wrappers)}"
            )
        return self.optim_wrappers[key]

    def __contains__(self, key: str) -> bool:
        return key in self.optim_wrappers

    def __len__(self) -> int:
        return len(self.optim_wrappers)

    def __getattr__(self, name: str) -> NoReturn:
        names = list(self.__dict__.get("optim_wrappers", ()))
        example = f"optim_wrapper[{names[0]!r}].{name}" if names else "those"
        raise MissingAttributeError(
            f"OptimWrapperDict has no {name!r} of its own: it holds the optimizers {names}. Use {example}."
        )

    def __repr__(self) -> str:
        return "".join(f"name: {name}\n{wrapper!r}" for name, wrapper in self.optim_wrappers.items())

    def _refuse(self, method: str) -> NoReturn:
        names = list(self.optim_wrappers)
        raise NotSupportedError(
            f"OptimWrapperDict holds several optimizers, {names}, and each has its own loss: call {method} of one, "
            f"as in optim_wrapper[{names[0] if names else 'name'!r}].{method}(...), in the model's own train_step."
        )

    def _prefixed(self, method: str) -> dict[str, list[Any]]:
        return {
            f"{name}.{key}": values
            for name, wrapper in self.optim_wrappers.items()
            for key, values in getattr(wrapper, method)().items()
        }
