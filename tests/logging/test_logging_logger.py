"""MMLogger and print_log: lines, files, levels, processes."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.logging import ConsoleHandler, MMLogger, console_writer, print_log

CONSOLE = r"\d\d/\d\d \d\d:\d\d:\d\d - mmengine - "
FILE = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - mmengine - "


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_console_and_file_lines_have_their_prefixes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("lines", log_file=str(tmp_path / "deep" / "run.log"))
    logger.info("hello %s", "you")
    assert re.fullmatch(CONSOLE + "INFO - hello you\n", capsys.readouterr().out)
    assert re.fullmatch(FILE + "INFO - hello you\n", (tmp_path / "deep" / "run.log").read_text())
    assert logger.log_file == str(tmp_path / "deep" / "run.log")


def test_errors_say_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("errors")
    logger.error("first")
    print_log("second", "errors", "ERROR")
    name = "test_errors_say_where_they_come_from"
    assert len(re.findall(rf"ERROR - {re.escape(__file__)} - {name} - \d+ - ", capsys.readouterr().out)) == 2


def test_a_traceback_follows_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("inner")
    except ValueError:
        MMLogger.get_instance("trace").exception("outer")
    assert capsys.readouterr().out.endswith("ValueError: inner\n")


def test_the_level_is_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MMLogger.get_instance("colour")
    terminal, plain = Terminal(), io.StringIO()
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream in (terminal, plain):
        monkeypatch.setattr(sys, "stdout", stream)
        logger.info("hello")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", quiet := Terminal())
    logger.info("hello")
    assert "\x1b[97mINFO\x1b[0m" in terminal.getvalue()
    assert "\x1b" not in plain.getvalue() + quiet.getvalue()


def test_a_warning_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("twice")
    for _ in range(2):
        logger.warning("careful with %s", "a")
        logger.warning("careful with %s", "b")
        logger.info("again")
    out = capsys.readouterr().out
    assert [out.count(text) for text in ("with a", "with b", "again")] == [1, 1, 2]


def test_set_level_by_name_or_number_works_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("levels")
    logger.debug("no 1")
    logger.setLevel("debug")
    logger.debug("yes 1")
    logger.setLevel(logging.WARNING)
    logger.info("no 2")
    assert not logger.isEnabledFor(logging.INFO)
    assert MMLogger.get_instance("loud", log_level="DEBUG").handlers[0].level == logging.DEBUG
    assert re.fullmatch(CONSOLE + "DEBUG - yes 1\n", capsys.readouterr().out)


@pytest.mark.parametrize("level", ["INF", 2.5, None])
def test_an_unknown_level_is_refused(level: object) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match="level"):
        MMLogger("x", log_level=level)  # type: ignore[arg-type]


def test_it_stands_outside_the_tree_of_loggers(capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("tree")
    assert logger.parent is None
    assert "tree" not in logging.root.manager.loggerDict
    logger.info("once")
    assert capsys.readouterr().out.count("once") == 1


def test_copies_and_pickles_are_the_logger_itself() -> None:
    logger = MMLogger.get_instance("same")
    assert copy.deepcopy(logger) is logger
    assert pickle.loads(pickle.dumps(logger)) is logger


def test_other_file_handlers_come_from_the_standard_library(tmp_path: Path) -> None:
    path = str(tmp_path / "run.log")
    config = {"type": "RotatingFileHandler", "maxBytes": 1024, "backupCount": 1}
    logger = MMLogger.get_instance("rotating", log_file=path, file_handler_cfg=config)
    assert type(logger.handlers[1]) is logging.handlers.RotatingFileHandler
    assert config["type"] == "RotatingFileHandler"
    for bad in ({"type": "RotatingFileHandlr"}, {"mode": "a"}):
        with pytest.raises(ArgumentError, match="file_handler_cfg needs a `type`"):
            MMLogger("bad", log_file=path, file_handler_cfg=bad)


def test_file_mode_appends(tmp_path: Path) -> None:
    for name in ("one", "two"):
        MMLogger.get_instance(name, log_file=str(tmp_path / "run.log"), file_mode="a").info(name)
    assert (tmp_path / "run.log").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("kwargs", "has_file"), [({}, False), ({"distributed": True}, True), ({"log_level": "DEBUG"}, True)]
)
def test_other_processes_show_errors_and_write_only_on_request(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kwargs: dict[str, object],
    has_file: bool,
) -> None:
    for key, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(key, value)
    logger = MMLogger.get_instance("rank1", log_file=str(tmp_path / "run.log"), **kwargs)  # type: ignore[arg-type]
    logger.info("quiet")
    logger.error("loud")
    logger.setLevel("DEBUG")
    logger.info("still quiet")
    assert "quiet" not in (out := capsys.readouterr().out) and "loud" in out
    files = [path.name for path in tmp_path.iterdir()]
    assert len(files) == has_file
    assert all(re.fullmatch(r"run_.+@.+_device1_rank1\.log", name) for name in files)


def test_print_log_reaches_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    named = MMLogger.get_instance("named")
    print_log("plain")
    print_log("dropped", logger="silent")
    print_log("to current", logger="current")
    print_log("to named", logger="named")
    print_log("to object", logger=named, level="WARNING")
    out = capsys.readouterr().out
    assert out.startswith("plain\n")
    assert "dropped" not in out
    assert out.count("INFO - to ") == 2 and "WARNING - to object" in out


def test_print_log_refuses_unknown_targets() -> None:
    MMLogger.get_instance("trainer")
    with pytest.raises(ArgumentError, match="Did you mean 'trainer'"):
        print_log("x", "trainr")
    with pytest.raises(ArgumentTypeError, match="got 5 of type int"):
        print_log("x", 5)  # type: ignore[arg-type]


def test_without_any_logger_the_current_one_is_made() -> None:
    for name in list(MMLogger._instance_dict):
        del MMLogger._instance_dict[name]
    assert MMLogger.get_current_instance().instance_name == "mmengine"


def test_console_writer_takes_console_lines_but_not_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("live", log_file=str(tmp_path / "run.log"))
    lines: list[str] = []
    with console_writer(lines.append):
        logger.info("above")
        print_log("printed")
    logger.info("after")
    assert lines[0].endswith("above") and lines[1] == "printed"
    assert "above" not in (out := capsys.readouterr().out) and "after" in out
    assert (tmp_path / "run.log").read_text().count("\n") == 2


def test_a_stream_set_by_hand_stays(capsys: pytest.CaptureFixture[str]) -> None:
    logger = MMLogger.get_instance("stream")
    (handler,) = logger.handlers
    assert type(handler) is ConsoleHandler
    handler.setStream(mine := io.StringIO())
    logger.info("hello")
    assert "hello" in mine.getvalue() and capsys.readouterr().out == ""


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, drivetrain.logging; print('torch' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
