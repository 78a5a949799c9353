"""What stands in double braces in a config: facts about the file, the environment, values of its bases."""

from __future__ import annotations

import io
import os
import re
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from drivetrain.errors import NotFoundError, did_you_mean

from ._dict import ConfigDict, is_node, set_origins

_ENVIRONMENT = re.compile(
    r"(?P<inner>\{\{\s*['\"]\$(\w+)(?::([^'\"}]*))?['\"]\s*\}\})|\{\{\s*\$(\w+)(?::([^}]*?))?\s*\}\}"
)
_BASE = re.compile(r"\{\{\s*_base_\.([\w.]+)\s*\}\}")
_TAG = re.compile(r"_drivetrain_base_(\d+)_")


def predefined(text: str, path: Path) -> str:
    """`text` with the facts about its file: `{{ fileDirname }}`, `{{ fileBasename }}` and the like."""
    facts = {
        "fileDirname": path.parent.as_posix(),
        "fileBasename": path.name,
        "fileBasenameNoExtension": path.stem,
        "fileExtname": path.suffix,
    }
    for name, fact in facts.items():
        text = re.sub(r"\{\{\s*" + name + r"\s*\}\}", lambda _, fact=fact: fact, text)  # type: ignore[misc]
    return text


def environment(text: str, path: Path) -> tuple[str, dict[str, str]]:
    """`text` with environment variables: `{{$NAME:default}}`, and those that were set, by name.

    Raises:
        NotFoundError: a variable is not set and has no default.
    """
    used: dict[str, str] = {}

    def value_of(match: re.Match[str]) -> str:
        name, default = (match[2], match[3]) if match["inner"] else (match[4], match[5])
        if name in os.environ:
            used[name] = os.environ[name]
            return os.environ[name]
        if not default:
            line = text.count("\n", 0, match.start()) + 1
            raise NotFoundError(
                f"{path}:{line} needs the environment variable {name!r}, which is not set."
                f"{did_you_mean(name, os.environ)} Set it, or give a default: {{{{${name}:default}}}}."
            )
        return default

    return _ENVIRONMENT.sub(value_of, text), used


class BaseReferences:
    """The `{{ _base_.a.b }}` of one file: names for them in its text, and their values once the bases are known.

    Args:
        text: the file's text.
        quoted: whether a name must be put in quotes where it does not stand in a string: in JSON.
    """

    def __init__(self, text: str, quoted: bool = False) -> None:
        self.paths: list[str] = []
        self._values: dict[str, Any] = {}
        self.text = _BASE.sub(lambda match: self._tag(match, quoted), text)

    def _tag(self, match: re.Match[str], quoted: bool) -> str:
        self.paths.append(match[1])
        tag = f"_drivetrain_base_{len(self.paths) - 1}_"
        before = match.string[: match.start()].rsplit("\n", 1)[-1]
        return f'"{tag}"' if quoted and before.count('"') % 2 == 0 else tag

    def resolve(self, bases: ConfigDict, path: Path) -> dict[str, Any]:
        """The values by the names that stand in the text.

        Raises:
            NotFoundError: the bases have no such value.
        """
        self._values = {}
        for i, dotted in enumerate(self.paths):
            tag = f"_drivetrain_base_{i}_"
            try:
                self._values[tag] = _value_at(bases, dotted, path)
            except NotFoundError:
                if not self._is_in_comment(tag):
                    raise
        return self._values

    def _is_in_comment(self, tag: str) -> bool:
        try:
            tokens = list(tokenize.generate_tokens(io.StringIO(self.text).readline))
        except (tokenize.TokenError, SyntaxError):
            return False
        return any(token.type == tokenize.COMMENT and tag in token.string for token in tokens)

    def fill(self, value: Any) -> Any:
        """`value` with the bases' values in place of strings that are, or hold, a name."""
        if not self.paths:
            return value
        if is_node(value):
            fresh = ConfigDict()
            for key, item in dict.items(value):
                dict.__setitem__(fresh, self.fill(key), self.fill(item))
            set_origins(fresh, {self.fill(key): origins for key, origins in (value._origins or {}).items()})
            return fresh
        kind = type(value)
        if kind is list or kind is tuple:
            return kind([self.fill(item) for item in value])
        return self._filled(value) if kind is str else value

    def _filled(self, text: str) -> Any:
        if text in self._values:
            return self._values[text]
        return _TAG.sub(lambda match: str(self._values[match[0]]), text)


def _value_at(bases: Mapping[str, Any], dotted: str, path: Path) -> Any:
    value: Any = bases
    for part in dotted.split("."):
        try:
            value = value[int(part)] if type(value) in (list, tuple) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            options = list(value) if is_node(value) else []
            raise NotFoundError(
                f"{path} asks for _base_.{dotted}, and its bases have no {part!r} there."
                f"{did_you_mean(part, map(str, options))}"
            ) from None
    copied: Callable[[], Any] | None = getattr(value, "deepcopy", None)
    return value if copied is None else copied()
