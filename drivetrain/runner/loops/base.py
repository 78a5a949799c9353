"""The base of all loops."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any, Union

from torch.utils.data import DataLoader


class BaseLoop(metaclass=ABCMeta):
    """Runs over one loader.

    Args:
        runner: the runner this loop belongs to.
        dataloader: a loader, or a config for `Runner.build_dataloader`.
    """

    def __init__(self, runner: Any, dataloader: Union[DataLoader[Any], dict[str, Any]]) -> None:  # noqa: UP007
        self._runner = runner
        self.dataloader = runner.open_dataloader(dataloader)

    @property
    def runner(self) -> Any:
        """The runner this loop belongs to."""
        return self._runner

    @abstractmethod
    def run(self) -> Any:
        """Run the loop from where it stands to its end."""
