"""Versions: of a package as numbers to compare, of a repository as a hash."""

from __future__ import annotations

import os
import re

from drivetrain.errors import ArgumentError, ArgumentTypeError

# The grammar of PEP 440, Appendix B, with its other spellings.
_VERSION = re.compile(
    r"""\s* v?
    (?: \d+ ! )?                                                                    # epoch
    (?P<release> \d+ (?: \.\d+ )* )
    (?: [-_.]? (?P<pre> alpha | beta | preview | pre | a | b | c | rc ) [-_.]? (?P<pre_number> \d+ )? )?
    (?P<post> -(?P<post_bare> \d+ ) | [-_.]? (?: post | rev | r ) [-_.]? (?P<post_number> \d+ )? )?
    (?P<dev> [-_.]? dev [-_.]? \d* )?
    (?: \+ [a-z0-9]+ (?: [-_.][a-z0-9]+ )* )?                                        # local version
    \s*""",
    re.VERBOSE | re.IGNORECASE,
)
_DEV, _FINAL, _POST = -4, 0, 1
_PRE = {"a": -3, "alpha": -3, "b": -2, "beta": -2, "c": -1, "rc": -1, "pre": -1, "preview": -1}


def digit_version(version_str: str, length: int = 4) -> tuple[int, ...]:
    """A version as a tuple of integers that compares as versions do.

    Args:
        version_str: the version, in the form of PEP 440; a local part (`+cu118`) and an epoch are left out.
        length: how many numbers of the release to keep; missing ones are 0.

    Returns:
        The release, then two numbers for the kind: `(-4, 0)` development, `(-3, n)` alpha, `(-2, n)` beta, `(-1, n)`
        release candidate, `(0, 0)` final, `(1, n)` post release.

    Raises:
        ArgumentError: `version_str` is no version.
        ArgumentTypeError: it is no string.

    >>> digit_version("2.1.0rc1"), digit_version("2.1.0rc1") < digit_version("2.1.0+cu118")
    ((2, 1, 0, 0, -1, 1), True)
    """
    try:
        found = _VERSION.fullmatch(version_str)
    except TypeError:
        raise ArgumentTypeError(f"digit_version needs a string such as '1.2.3', got {version_str!r}.") from None
    if found is None:
        raise ArgumentError(
            f"{version_str!r} is no version. Expected the form of PEP 440, such as '1.2.3' or '1.2rc1'."
        )
    release = [int(number) for number in found["release"].split(".")][:length]
    return (*release, *[0] * (length - len(release)), *_kind(found))


def _kind(found: re.Match[str]) -> tuple[int, int]:
    if found["pre"]:
        return _PRE[found["pre"].lower()], int(found["pre_number"] or 0)
    if found["dev"]:
        return _DEV, 0
    if found["post"]:
        return _POST, int(found["post_bare"] or found["post_number"] or 0)
    return _FINAL, 0


def get_git_hash(fallback: str = "unknown", digits: int | None = None) -> str:
    """The hash of the commit checked out in the working directory.

    Args:
        fallback: what to return where there is no git or no repository.
        digits: how many characters to keep; None for all 40.

    Raises:
        ArgumentTypeError: `digits` is no integer.
    """
    if digits is not None and type(digits) is not int:
        raise ArgumentTypeError(f"digits must be None or an integer, got {digits!r}.")
    import subprocess

    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C"}, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return fallback
    return done.stdout.decode("ascii").strip()[:digits]
