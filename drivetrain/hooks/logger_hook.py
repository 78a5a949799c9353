"""Write log lines and scalars every so many steps; the only default hook that reads device values."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.fileio import dump, put
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike
from drivetrain.utils import Interval, Ticker

from .hook import DATA_BATCH, Hook

SUFFIX_TYPE = Union[Sequence[str], str]  # noqa: UP007
"""One ending of file names, or several."""

_NOT_ASKED = -1


@HOOKS.register_module()
class LoggerHook(Hook):
    """Logs the line and the scalars that the log processor makes of the message hub.

    Lines go to `runner.logger`, scalars to `runner.visualizer`. The results of a test also go to
    `<log_dir>/<timestamp>.json`, as one object.

    Args:
        interval: batches between two lines, or an interval such as '0.25ep' or '1min'; each line costs one read of the
            device.
        ignore_last: at the end of an epoch, do not log the batches after the last full interval, unless the epoch is
            shorter than one interval.
        interval_exp_name: steps between two reminders of the experiment's name.
        out_dir: folder or URL to which the log files are copied when the run ends, into a folder named as `work_dir`.
        out_suffix: endings of the names of files to copy.
        keep_local: whether copied files stay in `log_dir` as well.
        file_client_args: the old name of `backend_args`.
        log_metric_by_epoch: whether metrics of a validation are drawn over epochs, not steps.
        backend_args: for the storage of `out_dir`, as in `drivetrain.fileio`.

    Raises:
        ArgumentError: an interval below one, or arguments that contradict each other.
        ArgumentTypeError: an argument of a wrong type.
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: Union[int, str] = 10,  # noqa: UP007
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        out_dir: str | Path | None = None,
        out_suffix: SUFFIX_TYPE = (".json", ".log", ".py", "yaml"),
        keep_local: bool = True,
        file_client_args: dict[str, Any] | None = None,
        log_metric_by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        self._every = Interval.parse("interval", interval) if type(interval) is str else None
        whole = interval if self._every is None else self._every.iterations
        # What is no number of batches is asked about at the end of each.
        self._every = None if whole is not None else self._every
        self.interval: Any = self._every if whole is None else _checked_interval("interval", whole)
        self._tickers: dict[str, Ticker] = {}
        self._clock: dict[str, Any] | None = None
        self.interval_exp_name = _checked_interval("interval_exp_name", interval_exp_name)
        if type(ignore_last) is not bool:
            raise ArgumentTypeError(f"ignore_last must be a bool, got {ignore_last!r}.")
        self.ignore_last = ignore_last
        self.out_dir = _checked_out_dir(out_dir)
        self.out_suffix = out_suffix if type(out_suffix) is str else tuple(out_suffix)
        self.keep_local = keep_local
        self.file_client_args = file_client_args
        self.backend_args = _checked_backend(out_dir, file_client_args, backend_args)
        self.log_metric_by_epoch = log_metric_by_epoch
        self.json_log_path: str | None = None
        self._epoch_length: int | None = _NOT_ASKED
        self._passed: dict[str, int] = {}

    def before_run(self, runner: RunnerLike) -> None:
        """Name the files."""
        self.json_log_path = f"{runner.timestamp}.json"
        if self.out_dir is not None:
            name = os.path.basename(runner.work_dir.rstrip("/\\"))
            self.out_dir = f"{self.out_dir.rstrip('/')}/{name}"
            runner.logger.info(f"Text logs will be saved to {self.out_dir} after the training process.")

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Log every `interval` batches."""
        batches = batch_idx + 1
        if batch_idx == 0 or self._epoch_length == _NOT_ASKED:
            self._epoch_length = _length(runner.train_dataloader)
        at_end = batches == self._epoch_length
        if at_end or (runner.iter + 1) % self.interval_exp_name == 0:
            runner.logger.info(f"Exp name: {runner.experiment_name}")
        due = batches % self.interval == 0 if self._every is None else self._passed_in_training(runner)
        if due or (at_end and self._logs_rest(batches)):
            tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
            runner.logger.info(line)
            runner.visualizer.add_scalars(tag, step=runner.iter + 1, file_path=self.json_log_path)

    def after_val_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any | None = None
    ) -> None:
        """Log every `interval` batches."""
        self._log_evaluation(runner, "val", batch_idx)

    def after_test_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any | None = None
    ) -> None:
        """Log every `interval` batches."""
        self._log_evaluation(runner, "test", batch_idx)

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Log the metrics, drawn over epochs or steps."""
        tag, line = runner.log_processor.get_log_after_epoch(runner, self._size(runner, "val"), "val")
        runner.logger.info(line)
        step = runner.epoch if self.log_metric_by_epoch else runner.iter
        runner.visualizer.add_scalars(tag, step=step, file_path=self.json_log_path)

    def after_test_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Log the metrics and write them to a file."""
        tag, line = runner.log_processor.get_log_after_epoch(
            runner, self._size(runner, "test"), "test", with_non_scalar=True
        )
        runner.logger.info(line)
        if runner.rank == 0:
            dump(self._process_tags(tag), os.path.join(runner.log_dir, self.json_log_path or "test.json"))

    def after_run(self, runner: RunnerLike) -> None:
        """Close the visualizer and copy the log files away, if asked to."""
        runner.visualizer.close()
        if self.out_dir is not None and runner.rank == 0:
            for path in sorted(Path(runner.log_dir).rglob("*")):
                if path.is_file() and path.name.endswith(self.out_suffix):
                    self._copy_away(runner, path)

    def _copy_away(self, runner: RunnerLike, path: Path) -> None:
        target = f"{self.out_dir}/{path.relative_to(runner.log_dir).as_posix()}"
        put(path.read_bytes(), target, backend_args=self.backend_args)
        runner.logger.info(f"The file {path} has been uploaded to {target}.")
        if not self.keep_local:
            path.unlink()
            runner.logger.info(f"{path} was removed because keep_local is False; its copy is {target}.")

    def _logs_rest(self, batches: int) -> bool:
        return not self.ignore_last or (self._every is None and batches <= self.interval)

    def _passed_in_training(self, runner: RunnerLike) -> bool:
        ticker = self._tickers.get("train")
        if ticker is None:
            ticker = self._tickers["train"] = self._new_ticker(runner, "train")
            if self._clock is not None:
                ticker.load_state_dict(self._clock)
        return ticker.due(runner.iter + 1)

    def _passed_in(self, runner: RunnerLike, mode: str, batch_idx: int) -> bool:
        """In a validation or test each run over the loader begins anew."""
        if batch_idx == 0 or mode not in self._tickers:
            self._tickers[mode] = self._new_ticker(runner, mode)
        return self._tickers[mode].due(batch_idx + 1)

    def _new_ticker(self, runner: RunnerLike, mode: str) -> Ticker:
        return Ticker(self.interval, _length(getattr(runner, f"{mode}_dataloader")))

    def state_dict(self) -> dict[str, Any]:
        """How long ago the last line of training was, where lines come by time."""
        ticker = self._tickers.get("train")
        return {} if ticker is None else ticker.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._clock = dict(state) or None
        self._tickers.pop("train", None)

    def _log_evaluation(self, runner: RunnerLike, mode: str, batch_idx: int) -> None:
        self._passed[mode] = batch_idx + 1
        if self._every is None:
            due = self.every_n_inner_iters(batch_idx, self.interval)
        else:
            due = self._passed_in(runner, mode, batch_idx)
        if due:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, mode)
            runner.logger.info(line)

    def _size(self, runner: RunnerLike, mode: str) -> int:
        """Number of batches of a validation or test: what the loader says, else how many there were."""
        length = _length(getattr(runner, f"{mode}_dataloader"))
        return self._passed.get(mode, 0) if length is None else length

    def _process_tags(self, tags: Mapping[str, Any]) -> OrderedDict[str, Any]:
        """`tags` with plain numbers and lists in place of arrays, tensors and their scalars."""
        return OrderedDict((key, _plain(value)) for key, value in tags.items())


def _plain(value: Any) -> Any:
    """What JSON can hold of `value`; its text when there is nothing else."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if type(value) in (list, tuple, set) else str(value)


def _length(loader: Any) -> int | None:
    """Number of batches, None when the loader cannot tell."""
    try:
        return len(loader)
    except TypeError:
        return None


def _checked_interval(name: str, value: Any) -> int:
    if type(value) is not int:
        raise ArgumentTypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}.")
    if value < 1:
        raise ArgumentError(f"{name} must be at least 1, got {value}; set default_hooks=dict(logger=None) for no log.")
    return value


def _checked_out_dir(out_dir: Any) -> str | None:
    if out_dir is None:
        return None
    if type(out_dir) is not str and not hasattr(out_dir, "__fspath__"):
        raise ArgumentTypeError(f"out_dir must be a str or Path, got {out_dir!r} of type {type(out_dir).__name__}.")
    return os.fspath(out_dir)


def _checked_backend(out_dir: Any, old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any] | None:
    if old is None:
        return new
    if out_dir is None:
        raise ArgumentError(f"file_client_args={old!r} says how to reach `out_dir`, which is not given.")
    if new is not None:
        raise ArgumentError("file_client_args is the old name of backend_args: give only backend_args.")
    return old
