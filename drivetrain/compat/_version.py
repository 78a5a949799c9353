"""The version that `mmengine` reports: the release whose contract drivetrain keeps, within the packages' windows."""

from __future__ import annotations

from drivetrain.version import CONTRACT_VERSION


def parse_version_info(version_str: str) -> tuple[int | str, ...]:
    """The parts of a version; a release candidate ends in text: `1.2.0rc1` -> `(1, 2, 0, 'rc1')`."""
    parts: list[int | str] = []
    for part in version_str.split("."):
        number, mark, candidate = part.partition("rc")
        parts += [int(number)] if number.isdigit() else []
        parts += [mark + candidate] if mark else []
    return tuple(parts)


__version__ = CONTRACT_VERSION

version_info = parse_version_info(__version__)
"""`__version__` in numbers."""
