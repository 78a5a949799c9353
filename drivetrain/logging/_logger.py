"""Loggers by name: console and file lines of one form, master process only unless asked otherwise."""

from __future__ import annotations

import getpass
import logging
import logging.handlers
import os
import socket
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.utils import ManagerMixin, process_count, process_rank

from ._console import ConsoleHandler, write_console

_CONSOLE_DATE = "%m/%d %H:%M:%S"
_FILE_DATE = "%Y/%m/%d %H:%M:%S"
_LEVELS = {name: getattr(logging, name) for name in ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_LEVELS |= {"WARN": logging.WARNING, "FATAL": logging.CRITICAL}
_COLOURS = {logging.INFO: "97", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31", logging.DEBUG: "36"}
_REMEMBERED_WARNINGS = 4096


def parse_level(level: int | str) -> int:
    """The number of a log level given by number or by name, in any case.

    Raises:
        ArgumentError: no level has that name.
        ArgumentTypeError: neither a number nor a name.
    """
    if type(level) is str:
        if level.upper() not in _LEVELS:
            raise ArgumentError(
                f"{level!r} is no log level: use one of {', '.join(_LEVELS)}, or a number."
                f"{did_you_mean(level, _LEVELS)}"
            )
        return int(_LEVELS[level.upper()])
    if type(level) is not int:
        raise ArgumentTypeError(f"a log level is a name or an int, got {level!r} of type {type(level).__name__}.")
    return level


class MMFormatter(logging.Formatter):
    """Lines of the form `<date> - <logger> - <LEVEL> - <message>`; errors say where they come from as well.

    Args:
        color: underline and colour the level.
        blink: make warnings and errors blink, on terminals that can.
        **kwargs: for `logging.Formatter`; `datefmt` is the useful one.
    """

    def __init__(self, color: bool = True, blink: bool = False, **kwargs: Any) -> None:
        super().__init__("%(asctime)s %(message)s", **kwargs)
        self._color = color
        self._blink = blink

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of `record`, without its traceback."""
        origin = (
            f"{record.pathname} - {record.funcName} - {record.lineno} - " if record.levelno >= logging.ERROR else ""
        )
        return f"{record.asctime} - {record.name} - {self._level(record)} - {origin}{record.message}"

    def _level(self, record: logging.LogRecord) -> str:
        if not self._color:
            return record.levelname
        blink = "\x1b[5m" if self._blink and record.levelno >= logging.WARNING else ""
        return f"{blink}\x1b[4m\x1b[{_COLOURS.get(record.levelno, '97')}m{record.levelname}\x1b[0m"


class FilterDuplicateWarning(logging.Filter):
    """Lets a WARNING text pass once; other levels always pass.

    Args:
        name: name of the filter; it lets records of every logger pass.
    """

    def __init__(self, name: str = "mmengine") -> None:
        super().__init__(name)
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be written."""
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        if text in self._seen:
            return False
        if len(self._seen) >= _REMEMBERED_WARNINGS:  # texts with a step number in them must not fill the memory
            self._seen.clear()
        self._seen.add(text)
        return True


class MMLogger(logging.Logger, ManagerMixin):
    """A logger found by name, outside the tree of `logging.getLogger`: it has no parent and inherits nothing.

    On the master process lines go to standard output and, with `log_file`, to a file. Other processes show errors only,
    and write a file of their own when `distributed` or at level DEBUG.

    Args:
        name: the name of the instance, for `get_instance`.
        logger_name: the name that stands in each line.
        log_file: path of the log file; its folder is made. With several processes that write, each file's name gets
            `_<user>@<host>_device<local rank>_rank<rank>` before its ending.
        log_level: name or number; less severe records are dropped.
        file_mode: 'w' to start the file anew, 'a' to append.
        distributed: whether every process writes a file.
        file_handler_cfg: another file handler: `type` names a class of `logging.handlers` (or 'FileHandler'), the rest
            are its arguments; `filename` defaults to `log_file`.

    Raises:
        ArgumentError: unknown level or handler.
    """

    def __init__(
        self,
        name: str,
        logger_name: str = "mmengine",
        log_file: str | None = None,
        log_level: int | str = "INFO",
        file_mode: str = "w",
        distributed: bool = False,
        file_handler_cfg: dict[str, Any] | None = None,
    ) -> None:
        logging.Logger.__init__(self, logger_name)
        ManagerMixin.__init__(self, name)
        level = parse_level(log_level)
        self._rank = process_rank()
        self._log_file: str | None = None
        self.addFilter(FilterDuplicateWarning())
        self.addHandler(_console_handler(level if self._rank == 0 else logging.ERROR))
        if log_file is not None:
            every_process = distributed or level == logging.DEBUG
            self._log_file = _own_path(os.fspath(log_file), self._rank) if every_process else os.fspath(log_file)
            if self._rank == 0 or every_process:
                self.addHandler(_file_handler(self._log_file, file_mode, level, file_handler_cfg))

    @property
    def log_file(self) -> str | None:
        """Path of the log file, None without one."""
        return self._log_file

    @classmethod
    def get_current_instance(cls) -> MMLogger:
        """The current logger: the one set for this context, else the last created, else a new one called 'mmengine'."""
        current = cls._current_or_none()
        return cls.get_instance("mmengine") if current is None else current

    def setLevel(self, level: int | str) -> None:
        """Drop records below `level` from now on, on console and in file; other processes' consoles keep to errors."""
        number = parse_level(level)
        super().setLevel(number)
        for handler in self.handlers:
            quiet = self._rank != 0 and type(handler) is ConsoleHandler
            handler.setLevel(max(number, logging.ERROR) if quiet else number)

    def isEnabledFor(self, level: int) -> bool:
        """Whether a record of `level` would be looked at.

        The base class remembers the answer and forgets it only for loggers of the tree, which this is not one of.
        """
        return not self.disabled and level > self.manager.disable and level >= self.level

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).get_instance, (self.instance_name,)


def _console_handler(level: int) -> logging.Handler:
    handler = ConsoleHandler(coloured=MMFormatter(color=True, datefmt=_CONSOLE_DATE))
    handler.setFormatter(MMFormatter(color=False, datefmt=_CONSOLE_DATE))
    handler.setLevel(level)
    return handler


def _file_handler(path: str, mode: str, level: int, config: Mapping[str, Any] | None) -> logging.Handler:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if config is None:
        handler: logging.Handler = logging.FileHandler(path, mode, encoding="utf-8")
    else:
        arguments = {"filename": path, **config}
        handler = _handler_class(arguments.pop("type", None))(**arguments)
    handler.setFormatter(MMFormatter(color=False, datefmt=_FILE_DATE))
    handler.setLevel(level)
    return handler


def _handler_class(name: Any) -> Any:
    known = {key: value for key, value in vars(logging.handlers).items() if key.endswith("Handler")}
    known["FileHandler"] = logging.FileHandler
    if name not in known:
        raise ArgumentError(
            f"file_handler_cfg needs a `type` that is a class of logging.handlers or 'FileHandler', got {name!r}."
            f"{did_you_mean(str(name), known)}"
        )
    return known[name]


def _own_path(path: str, rank: int) -> str:
    """A path that no other process has, when there are others."""
    if process_count() == 1:
        return path
    stem, suffix = os.path.splitext(path)
    device = os.environ.get("LOCAL_RANK", str(rank))
    return f"{stem}_{getpass.getuser()}@{socket.gethostname()}_device{device}_rank{rank}{suffix}"


def print_log(msg: Any, logger: logging.Logger | str | None = None, level: int | str = logging.INFO) -> None:
    """Print or log `msg`.

    Args:
        msg: the message.
        logger: None prints it; 'silent' drops it; 'current' takes the current `MMLogger`; another string the `MMLogger`
            of that name; a logger itself.
        level: name or number of the level to log at.

    Raises:
        ArgumentError: no logger has that name.
        ArgumentTypeError: `logger` is something else.
    """
    if logger is None:
        write_console(str(msg))
    elif logger != "silent":
        _find_logger(logger).log(parse_level(level), msg, stacklevel=2)


def _find_logger(logger: Any) -> Any:
    if type(logger) is not str:
        if not hasattr(logger, "log"):
            raise ArgumentTypeError(
                "`logger` must be a logging.Logger, a name, 'silent', 'current' or None, "
                f"got {logger!r} of type {type(logger).__name__}."
            )
        return logger
    if logger == "current":
        return MMLogger.get_current_instance()
    if not MMLogger.check_instance_created(logger):
        raise _no_such_logger(logger)
    return MMLogger.get_instance(logger)


def _no_such_logger(name: str) -> ArgumentError:
    known = list(MMLogger._instance_dict)
    return ArgumentError(
        f"no MMLogger is called {name!r}: create it with MMLogger.get_instance({name!r})."
        f"{did_you_mean(name, [*known, 'current', 'silent'])}"
    )
