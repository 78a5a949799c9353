"""Scalars, images and the config as files in one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from drivetrain.config import dump_python
from drivetrain.errors import ArgumentError, require_package
from drivetrain.fileio import dump, put_text
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend, force_init_env
from ._values import as_uint8_rgb, check_type, plain_number


@VISBACKENDS.register_module()
class LocalVisBackend(BaseVisBackend):
    """Writes files: a JSON object a line for scalars, PNG images, the config as Python source.

    Each line of scalars is written at once and whole, so that a process killed at any time leaves a file that reads.

    Args:
        save_dir: the folder, created on first use.
        img_save_dir: folder of the images, below `save_dir`.
        config_save_file: name of the config's file, ending in `.py`.
        scalar_save_file: name of the scalars' file, ending in `.json`.

    Raises:
        ArgumentError: a file name has another ending.
    """

    def __init__(
        self,
        save_dir: str,
        img_save_dir: str = "vis_image",
        config_save_file: str = "config.py",
        scalar_save_file: str = "scalars.json",
    ) -> None:
        _check_ending("config_save_file", config_save_file, ".py")
        _check_ending("scalar_save_file", scalar_save_file, ".json")
        super().__init__(save_dir)
        self._img_save_dir = img_save_dir
        self._config_save_file = config_save_file
        self._scalar_save_file = scalar_save_file
        self._second_files: dict[str, str] = {}

    def _init_env(self) -> None:
        os.makedirs(self._save_dir, exist_ok=True)
        self._img_save_dir = os.path.join(self._save_dir, self._img_save_dir)
        self._config_save_file = os.path.join(self._save_dir, self._config_save_file)
        self._scalar_save_file = os.path.join(self._save_dir, self._scalar_save_file)

    @property
    @force_init_env
    def experiment(self) -> LocalVisBackend:
        """This backend."""
        return self

    @force_init_env
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run as Python source."""
        put_text(dump_python(config), self._config_save_file)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image as `<name>_<step>.png`; slashes in the name are folders.

        Args:
            name: its name.
            image: uint8 (H, W, 3) in RGB order, or (H, W).
            step: global step.
            kwargs: unused.
        """
        check_type("image", image, np.ndarray)
        path = os.path.join(self._img_save_dir, f"{name}_{step}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write_png(as_uint8_rgb(image), path)

    @force_init_env
    def add_scalar(self, name: str, value: int | float | Tensor | np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write a number of a step as one line: `{"<name>": value, "step": step}`."""
        _append_line(_as_json({name: value, "step": step}), self._scalar_save_file)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step as one line.

        Args:
            scalar_dict: numbers (or tensors, arrays, strings) by name; its own `step`, if any, is kept.
            step: global step.
            file_path: a second file for the same line, below `save_dir`, ending in `.json`.
            kwargs: unused.

        Raises:
            ArgumentError: `file_path` is the scalars' file itself, or has another ending.
        """
        check_type("scalar_dict", scalar_dict, dict)
        line = _as_json({**scalar_dict, "step": scalar_dict.get("step", step)})
        second = None if file_path is None else self._second_file(file_path)
        _append_line(line, self._scalar_save_file)
        if second is not None:
            _append_line(line, second)

    def _second_file(self, file_path: str) -> str:
        known = self._second_files.get(file_path)
        if known is not None:
            return known
        _check_ending("file_path", file_path, ".json")
        path = os.path.join(self._save_dir, file_path)
        if os.path.abspath(path) == os.path.abspath(self._scalar_save_file):
            raise ArgumentError(f"file_path={file_path!r} is the file of all scalars: choose another name.")
        self._second_files[file_path] = path
        return path


def _as_json(values: Mapping[str, Any]) -> bytes:
    line = dump({key: plain_number(value) for key, value in values.items()}, file_format="json")
    return f"{line}\n".encode()


def _append_line(line: bytes, file_path: str) -> None:
    """Append with one write, so that no reader, and no kill, sees a part of the line."""
    descriptor = os.open(file_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _check_ending(name: str, value: str, ending: str) -> None:
    if not value.endswith(ending):
        raise ArgumentError(f"{name} should end in {ending!r}, got {value!r}.")


def _write_png(image: np.ndarray, path: str) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise require_package("pillow", "writing an image", "vision") from error
    Image.fromarray(image).save(path)
