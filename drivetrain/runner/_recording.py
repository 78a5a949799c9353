"""A recorded step, and what it reads and writes besides its batch: learning rates and the message hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from drivetrain.errors import NotSupportedError
from drivetrain.logging import MessageHub


class Recording:
    """A recorded step.

    Args:
        graph: the list of kernels.
        static: the batch at its recorded place, which has to stay.
        inputs: its tensors.
        log_vars: what the step returned.
        notes: what was written to the message hub on the way.
        gradients: tensors that outlive the step, which have to stay.
    """

    def __init__(
        self,
        graph: torch.cuda.CUDAGraph,
        static: Any,
        inputs: list[Tensor],
        log_vars: Any,
        notes: list[tuple[str, tuple[Any, ...]]],
        gradients: list[Tensor],
    ) -> None:
        self._graph, self._inputs, self._notes = graph, inputs, notes
        self._kept = (static, gradients)
        self._log_vars = {name: _detached(value) for name, value in log_vars.items()}
        self._tensors = {id(value): value for value in self._log_vars.values() if torch.is_tensor(value)}

    def replay(self, tensors: list[Tensor], hub: MessageHub, *, copies: bool) -> dict[str, Any]:
        """Take the step with other values of the batch.

        Args:
            tensors: of the batch, in the order of the recorded one.
            hub: gets what the step wrote when it was recorded, with the new values.
            copies: copy the log variables out of the recorded place, which the next step overwrites.

        Returns:
            The log variables.
        """
        if tensors:
            torch._foreach_copy_(self._inputs, tensors, non_blocking=True)
        self._graph.replay()
        for method, arguments in self._notes:
            getattr(hub, method)(*arguments)
        if not copies:
            return dict(self._log_vars)
        own = {place: value.clone() for place, value in self._tensors.items()}
        return {name: own.get(id(value), value) for name, value in self._log_vars.items()}


class MirroredRates:
    """Learning rates as a graph reads them: on the device, a mirror of the numbers that schedules and logs see.

    The mirror is float32, as fused optimizers take it; an eager step computes with the number itself.

    Args:
        optimizer: whose groups. A rate that is a tensor already is left alone.
        device: of the mirror.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._optimizer = optimizer
        self._places = [i for i, group in enumerate(optimizer.param_groups) if type(group["lr"]) is not Tensor]
        self._mirror = [torch.zeros((), device=device) for _ in self._places]
        self._values: list[float] = []

    def refresh(self) -> None:
        """Bring the mirror up to date, if a rate has changed."""
        groups = self._optimizer.param_groups
        values = [groups[place]["lr"] for place in self._places]
        if values == self._values:
            return
        self._values = values
        if len(values) == 1:
            self._mirror[0].fill_(values[0])
        else:
            # Two launches for any number of groups; the numbers travel with the launch.
            torch._foreach_zero_(self._mirror)
            torch._foreach_add_(self._mirror, values)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mirror into the groups for the time of the context."""
        groups = self._optimizer.param_groups
        values = [groups[place]["lr"] for place in self._places]
        for place, tensor in zip(self._places, self._mirror, strict=True):
            groups[place]["lr"] = tensor
        try:
            yield
        finally:
            for place, value in zip(self._places, values, strict=True):
                groups[place]["lr"] = value


class NotedHub(MessageHub):
    """A message hub for the time of recording: notes what is written, for every replay to write again."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.entries: list[tuple[str, tuple[Any, ...]]] = []

    def update_scalar(self, key: str, value: Any, count: int = 1, resumed: bool = True) -> None:
        """Note a scalar."""
        self.entries.append(("update_scalar", (key, _detached(value), count, resumed)))

    def update_together(self, values: Any) -> None:
        """Note scalars."""
        self.update_scalars(values)

    def update_info(self, key: str, value: Any, resumed: bool = True) -> None:
        """Note an info."""
        self.entries.append(("update_info", (key, value, resumed)))

    def get_info(self, key: str, default: Any | None = None) -> Any:
        """Refuse: the step would go on with this value for ever.

        Raises:
            NotSupportedError: always.
        """
        raise NotSupportedError(
            f"forward reads {key!r} from the message hub. A recorded step would see the value of this step for ever."
        )

    def get_scalar(self, key: str) -> Any:
        """Refuse, as `get_info` does."""
        return self.get_info(key)

    @contextmanager
    def in_place_of(self, wrapper: Any) -> Iterator[None]:
        """Be the current hub, and the one that an optimizer wrapper writes to."""
        own, wrapper.message_hub = wrapper.message_hub, self
        try:
            with MessageHub.use(self):
                yield
        finally:
            wrapper.message_hub = own


def _detached(value: Any) -> Any:
    return value.detach() if torch.is_tensor(value) else value
