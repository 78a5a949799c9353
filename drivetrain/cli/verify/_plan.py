"""What a start of the user's training is asked to do, from the process that watches over it to the one that trains."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivetrain.errors import ArgumentError, MissingFileError, did_you_mean

CONFIG, SCRIPT, DEMO = "config", "script", "demo"
_CONFIG_SUFFIXES = (".py", ".yaml", ".yml", ".json")


@dataclass
class Plan:
    """One start.

    Attributes:
        kind: 'config', 'script' or 'demo'.
        target: the file.
        arguments: what the script gets on its command line.
        cfg_options: values over those of the config.
        work_dir: where this run saves.
        record: file that gets a line for each step.
        seed: seed of a run that sets none itself.
        interval: steps between two saves.
        steps: last step; None for the end of the first epoch and a little more.
        wait_at: step at which the start waits to be killed; 0 for none.
        resume: go on from the newest checkpoint in `work_dir`.
        examine: make no step: look at how these samples of the training data are made, and write what is seen to
            `record`.
    """

    kind: str
    target: str
    work_dir: str = ""
    record: str = ""
    arguments: list[str] = field(default_factory=list)
    cfg_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    interval: int = 5
    steps: int | None = None
    wait_at: int = 0
    resume: bool = False
    examine: list[int] = field(default_factory=list)

    def written(self, path: Path) -> Path:
        """Write the plan as JSON; returns the path."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: str) -> Plan:
        """The plan in a file."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


def kind_of(target: str) -> str:
    """Whether a target is a config, a script or the demo.

    A Python file that calls something when it is run, such as `runner.train()` or what stands under
    `if __name__ == '__main__'`, is a script.

    Raises:
        MissingFileError: there is no such file.
        ArgumentError: the file is neither.
    """
    if not os.path.isfile(target):
        if target == DEMO:
            return DEMO
        folder = os.path.dirname(target) or "."
        beside = os.listdir(folder) if os.path.isdir(folder) else []
        hint = did_you_mean(os.path.basename(target), beside)
        raise MissingFileError(
            f"there is no file {target!r}.{hint} Give a config, a script that trains, or the word 'demo'."
        )
    suffix = os.path.splitext(target)[1]
    if suffix not in _CONFIG_SUFFIXES:
        raise ArgumentError(
            f"{target!r} is neither a script (.py) nor a config ({', '.join(_CONFIG_SUFFIXES)}): its name ends in "
            f"{suffix!r}."
        )
    return SCRIPT if suffix == ".py" and _acts(target) else CONFIG


def _acts(path: str) -> bool:
    """Whether a Python file does something beside naming values."""
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except SyntaxError as error:
        raise ArgumentError(f"{path}:{error.lineno}: {error.msg}: {(error.text or '').strip()}") from error
    return any(_is_main(statement) or _is_train(statement) for statement in tree.body)


def _is_main(statement: ast.stmt) -> bool:
    return type(statement) is ast.If and "__name__" in ast.unparse(statement.test)


def _is_train(statement: ast.stmt) -> bool:
    return type(statement) is ast.Expr and type(statement.value) is ast.Call
