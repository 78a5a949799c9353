"""Turn the numbers of a message hub into one log line and one dict of scalars."""

from __future__ import annotations

import datetime
import inspect
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from drivetrain.device import max_memory_mb
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean
from drivetrain.logging import HistoryBuffer
from drivetrain.registry import LOG_PROCESSORS

_KEYS = ("data_src", "log_name", "method_name", "window_size")
_TIMES = ("data_time", "time")
_WINDOWS = ("epoch", "global")
_MODES = ("train", "val", "test")


@LOG_PROCESSORS.register_module()
class LogProcessor:
    """Chooses, smooths and formats what is logged.

    Numbers whose name matches `mean_pattern` are shown as the mean of the newest `window_size` entries, others as their
    newest value. `custom_cfg` changes that number by number, or adds numbers under new names::

        LogProcessor(custom_cfg=[
            dict(data_src='acc', method_name='max', window_size=50),                                # in its place
            dict(data_src='loss', log_name='loss_epoch', method_name='mean', window_size='epoch'),  # as well
        ])

    The windows 'epoch' and 'global' cost the same however long they are. A registered statistic, which needs the
    entries themselves, sees those that the hub still keeps.

    Args:
        window_size: entries to smooth over.
        by_epoch: whether training is counted in epochs; names the first field of a line.
        custom_cfg: dicts of `data_src` (name of a number, without 'train/'), `method_name` ('mean', 'max', 'min',
            'current' or a registered statistic), `log_name` (default: `data_src`, which it then replaces) and
            `window_size` (an int, 'epoch' or 'global'), and arguments of a registered statistic.
        num_digits: digits after the point.
        log_with_hierarchy: keep the loop's name in the dict: 'train/loss', not 'loss'.
        mean_pattern: regular expression; names in which it is found are smoothed.

    Raises:
        ArgumentError: a window, statistic or key that does not exist, or two entries with one name.
        ArgumentTypeError: an argument of a wrong type.
    """

    def __init__(
        self,
        window_size: int = 10,
        by_epoch: bool = True,
        custom_cfg: list[dict[str, Any]] | None = None,
        num_digits: int = 4,
        log_with_hierarchy: bool = False,
        mean_pattern: str = ".*(loss|time|data_time|grad_norm).*",
    ) -> None:
        self.window_size = _checked_window(window_size, "window_size")
        self.by_epoch = by_epoch
        self.custom_cfg = custom_cfg if custom_cfg is not None else []
        self.num_digits = num_digits
        self.log_with_hierarchy = log_with_hierarchy
        self.mean_pattern = re.compile(mean_pattern)
        self._smoothed: dict[str, bool] = {}
        self._counts_memory = True
        self._check_custom_cfg()
        sizes = [entry.get("window_size") for entry in self.custom_cfg]
        self._longest = max([self.window_size, *(size for size in sizes if type(size) is int)])

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """What to log after a step.

        Args:
            runner: the runner; its message hub is read, which brings device values over.
            batch_idx: index of the batch, from 0.
            mode: 'train', 'val' or 'test'.

        Returns:
            The scalars by name, and the line.

        Raises:
            ArgumentError: unknown mode.
        """
        _checked_mode(mode, _MODES)
        custom = self._parse_windows_size(runner, batch_idx, self.custom_cfg)
        tag = self._collect_scalars(custom, runner, mode)
        shown = OrderedDict(tag)
        if self.by_epoch and mode != "test":
            tag["epoch"] = self._get_epoch(runner, mode)
        tag["iter"] = self._get_iter(runner)
        memory = self._get_max_memory(runner)
        if memory is not None:
            tag["memory"] = memory
        line = self._iter_head(runner, batch_idx, mode) + self._iter_fields(runner, shown, mode, memory)
        return (self._with_hierarchy(custom, runner, mode, tag) if self.log_with_hierarchy else tag), line

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        """What to log after a validation or a test.

        Args:
            runner: the runner.
            batch_idx: number of batches.
            mode: 'val' or 'test'.
            with_non_scalar: whether the dict holds results that are not numbers; the line always does.

        Returns:
            The results by name, with the times last, and the line.

        Raises:
            ArgumentError: unknown mode.
        """
        _checked_mode(mode, _MODES[1:])
        custom = self._parse_windows_size(runner, batch_idx - 1, self._with_epoch_times())
        prefixed = self.log_with_hierarchy
        scalars = self._collect_scalars(custom, runner, mode, prefixed)
        others = self._collect_non_scalars(runner, mode, prefixed)
        names = [f"{mode}/{key}" if prefixed else key for key in _TIMES]
        times = OrderedDict((key, scalars.pop(key)) for key in names if key in scalars)
        tag = OrderedDict([*scalars.items(), *(others.items() if with_non_scalar else ()), *times.items()])
        fields = [self._field(*item) for part in (scalars, others, times) for item in part.items()]
        return tag, self._epoch_head(runner, batch_idx, mode) + "    " + "  ".join(fields)

    def _iter_head(self, runner: Any, batch_idx: int, mode: str) -> str:
        """`Epoch(train)  [1][ 5/13]`: where the run is."""
        counted = self.by_epoch or mode != "train"
        done = batch_idx + 1 if counted else self._get_iter(runner)
        total = self._get_dataloader_size(runner, mode) if counted else runner.max_iters
        progress = f"[{done}]" if total is None else f"[{done:>{len(str(total))}}/{total}]"
        if not self.by_epoch:
            return f"Iter({mode}) {progress}"
        if mode == "test":
            return f"Epoch(test) {progress}"
        width = len(str(runner.max_epochs)) + 3 if _is_training(runner) else 0
        epoch = f"[{self._get_epoch(runner, mode)}]".rjust(width)
        return f"Epoch({mode}){epoch}{progress}"

    def _epoch_head(self, runner: Any, batches: int, mode: str) -> str:
        total = self._get_dataloader_size(runner, mode)
        total = batches if total is None else total
        epoch = f"[{self._get_epoch(runner, mode)}]" if self.by_epoch and mode == "val" else ""
        return f"{'Epoch' if self.by_epoch else 'Iter'}({mode}) {epoch}[{total}/{total}]"

    def _iter_fields(self, runner: Any, scalars: dict[str, Any], mode: str, memory: int | None) -> str:
        """The rest of a line after a step: learning rates, times, memory, everything else."""
        rates = [key for key in scalars if key.endswith("lr")] if mode == "train" else []
        parts = [" ".join(f"{key}: {scalars[key]:.{self.num_digits}e}" for key in rates)]
        done = set(rates)
        if all(key in scalars for key in _TIMES) and "eta" in runner.message_hub.runtime_info:
            parts += self._times(runner, scalars)
            done.update(_TIMES)
        if memory is not None:
            parts.append(f"memory: {memory}")
        rest = [(key, value) for key, value in scalars.items() if key not in done]
        if mode != "train":
            rest = [(key, value) for key, value in rest if key.startswith("val/loss")]
        return "  " + "  ".join([*parts, "  ".join(self._field(*item) for item in rest)])

    def _times(self, runner: Any, scalars: Mapping[str, Any]) -> list[str]:
        eta = datetime.timedelta(seconds=int(runner.message_hub.get_info("eta")))
        return [f"eta: {eta}", *(self._field(key, scalars[key]) for key in reversed(_TIMES))]

    def _field(self, key: str, value: Any) -> str:
        if isinstance(value, (float, np.floating)):
            return f"{key}: {value:.{self.num_digits}f}"
        if hasattr(value, "shape") and hasattr(value, "ndim") and not isinstance(value, np.generic):
            return f"{key}: \n{value}\n"
        return f"{key}: {value}"

    def _collect_scalars(
        self, custom_cfg: list[dict[str, Any]], runner: Any, mode: str, reserve_prefix: bool = False
    ) -> OrderedDict[str, Any]:
        """The numbers of `mode` by name, smoothed; custom ones in place or at the end."""
        prefix = f"{mode}/"
        runner.message_hub.retain(self._longest)
        buffers = {key: buffer for key, buffer in runner.message_hub.log_scalars.items() if key.startswith(mode)}
        tag: OrderedDict[str, Any] = OrderedDict()
        for key, buffer in buffers.items():
            name = self._remove_prefix(key, prefix)
            value = buffer.mean(self.window_size) if self._is_smoothed(name) else buffer.current()
            tag[key if reserve_prefix else name] = value
        for entry in custom_cfg:
            buffer = buffers.get(prefix + entry["data_src"])
            if buffer is not None:
                name = entry.get("log_name", entry["data_src"])
                tag[prefix + name if reserve_prefix else name] = _custom_value(buffer, entry)
        return tag

    def _collect_non_scalars(self, runner: Any, mode: str, reserve_prefix: bool = False) -> OrderedDict[str, Any]:
        """The results of `mode` that are not numbers, by name."""
        prefix = f"{mode}/"
        infos = runner.message_hub.runtime_info.items()
        return OrderedDict(
            (key if reserve_prefix else self._remove_prefix(key, prefix), value)
            for key, value in infos
            if key.startswith(prefix)
        )

    def _with_hierarchy(
        self, custom: list[dict[str, Any]], runner: Any, mode: str, tag: dict[str, Any]
    ) -> dict[str, Any]:
        scalars = self._collect_scalars(custom, runner, mode, True)
        place = {key: tag[key] for key in ("epoch", "iter", "memory") if key in tag}
        return OrderedDict([*scalars.items(), *place.items()])

    def _is_smoothed(self, name: str) -> bool:
        if name not in self._smoothed:
            self._smoothed[name] = self.mean_pattern.search(name) is not None
        return self._smoothed[name]

    def _remove_prefix(self, string: str, prefix: str) -> str:
        """`string` without `prefix`, if it begins so."""
        return string.removeprefix(prefix)

    def _with_epoch_times(self) -> list[dict[str, Any]]:
        """The custom entries, and the mean over the epoch of each time that no entry speaks of."""
        spoken_of = {entry["data_src"] for entry in self.custom_cfg}
        times: list[dict[str, Any]] = [
            {"data_src": key, "method_name": "mean", "window_size": "epoch"} for key in _TIMES if key not in spoken_of
        ]
        return [*self.custom_cfg, *times]

    def _parse_windows_size(
        self, runner: Any, batch_idx: int, custom_cfg: list[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Copies of the entries, with named windows as the number of their steps where that is known.

        The hub's own 'epoch' and 'global' take over where the number is more than the hub keeps.
        """
        sizes = {"epoch": batch_idx + 1, "global": runner.iter + 1}
        kept = runner.message_hub.retain(self._longest)
        parsed = []
        for entry in self.custom_cfg if custom_cfg is None else custom_cfg:
            size = sizes.get(entry.get("window_size", ""))
            parsed.append({**entry, "window_size": size} if size is not None and size <= kept else dict(entry))
        return parsed

    def _check_custom_cfg(self) -> None:
        """Refuse what cannot work, before anything runs."""
        if type(self.custom_cfg) not in (list, tuple):
            raise ArgumentTypeError(f"custom_cfg must be a list of dicts, got {self.custom_cfg!r}.")
        names: set[str] = set()
        for index, entry in enumerate(self.custom_cfg):
            _check_entry(entry, f"custom_cfg[{index}]", self.by_epoch)
            name = entry.get("log_name", entry["data_src"])
            if name in names:
                raise ArgumentError(
                    f"custom_cfg[{index}] logs {entry['data_src']!r} as {name!r}, a name that another entry has: "
                    "give each its own `log_name`."
                )
            names.add(name)

    def _get_max_memory(self, runner: Any) -> int | None:
        """Most memory that tensors took so far on this process's accelerator, in MB; None without one. No sync."""
        if not self._counts_memory:
            return None
        memory = max_memory_mb()
        self._counts_memory = memory is not None
        return memory

    def _get_iter(self, runner: Any, batch_idx: int | None = None) -> int:
        """The number to show: `batch_idx` from 1, or the training step from 1, or 0 when nothing trains."""
        if batch_idx is not None:
            return batch_idx + 1
        return int(runner.iter) + 1 if _is_training(runner) else 0

    def _get_epoch(self, runner: Any, mode: str) -> int:
        """The number of the epoch to show: the running one in training, those made in validation."""
        _checked_mode(mode, _MODES[:2])
        return int(runner.epoch) + 1 if mode == "train" else int(runner.epoch)

    def _get_cur_loop(self, runner: Any, mode: str) -> Any:
        """The loop of `mode`."""
        return getattr(runner, f"{_checked_mode(mode, _MODES)}_loop")

    def _get_dataloader_size(self, runner: Any, mode: str) -> int | None:
        """Number of batches of the loop of `mode`; None when its loader cannot tell."""
        try:
            return len(self._get_cur_loop(runner, mode).dataloader)
        except TypeError:
            return None


def _is_training(runner: Any) -> bool:
    """Whether there is a train loop: not in a run that only validates, where at most its config is there."""
    loop = getattr(runner, "_train_loop", None)
    return loop is not None and not hasattr(loop, "keys")


def _checked_mode(mode: str, modes: tuple[str, ...]) -> str:
    if mode not in modes:
        raise ArgumentError(
            f"the mode must be {' or '.join(map(repr, modes))}, got {mode!r}.{did_you_mean(mode, modes)}"
        )
    return mode


def _checked_window(size: Any, what: str) -> int:
    if type(size) is not int or size < 1:
        raise ArgumentError(f"{what} must be an int of at least 1, got {size!r}.")
    return size


def _check_entry(entry: Any, where: str, by_epoch: bool) -> None:
    """Refuse an entry of custom_cfg that could not be logged."""
    if not hasattr(entry, "keys"):
        raise ArgumentTypeError(f"{where} must be a dict, got {entry!r}.")
    for key in ("data_src", "method_name"):
        if key not in entry:
            raise ArgumentError(f"{where} needs the key {key!r}, got {dict(entry)!r}.")
    arguments = _arguments(entry["method_name"], where)
    for key in entry:
        if key not in _KEYS and key not in arguments:
            raise ArgumentError(
                f"{where} has the key {key!r}, which means nothing: use {', '.join(_KEYS)}, "
                f"or an argument of {entry['method_name']!r}.{did_you_mean(key, [*_KEYS, *arguments])}"
            )
    if "window_size" in entry:
        _check_entry_window(entry, where, by_epoch, takes_window="window_size" in arguments)


def _check_entry_window(entry: Mapping[str, Any], where: str, by_epoch: bool, takes_window: bool) -> None:
    size = entry["window_size"]
    if not takes_window:
        raise ArgumentError(
            f"{where}: the statistic {entry['method_name']!r} takes no window; leave `window_size` out."
        )
    if size == "epoch" and not by_epoch:
        raise ArgumentError(f"{where}: there are no epochs with by_epoch=False; use an int or 'global' as window_size.")
    if type(size) is str and size not in _WINDOWS:
        raise ArgumentError(
            f"{where}: window_size must be an int, 'epoch' or 'global', got {size!r}.{did_you_mean(size, _WINDOWS)}"
        )
    if type(size) is not str:
        _checked_window(size, f"{where}: window_size")


def _arguments(method_name: str, where: str) -> list[str]:
    """The arguments of a statistic after the buffer itself."""
    try:
        method = HistoryBuffer.find_statistics(method_name)
    except NotFoundError as error:
        raise ArgumentError(f"{where}: {error}") from None
    return list(inspect.signature(method).parameters)[1:]


def _custom_value(buffer: HistoryBuffer, entry: Mapping[str, Any]) -> Any:
    arguments = {key: value for key, value in entry.items() if key not in ("data_src", "log_name", "method_name")}
    return buffer.statistics(entry["method_name"], **arguments)
