"""Comparisons for tests, and scripts run in the process of the test."""

from __future__ import annotations

import runpy
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingFileError
from drivetrain.tensors import is_norm

_MISSING = object()
# Looser than torch.testing.assert_close, as the contract has it.
_TOLERANCES = {torch.float16: (1e-3, 1e-3), torch.float32: (1e-4, 1e-5), torch.float64: (1e-5, 1e-8)}


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str | Callable[[str], str] | None = "",
) -> None:
    """Raise unless two tensors, arrays, lists or numbers are close; their dtypes may differ.

    Args:
        actual: the first.
        expected: the second.
        rtol: relative tolerance; by default that of the looser dtype: 1e-3 for half, 1e-4 for single, 1e-5 for double
            precision, 0 for integers.
        atol: absolute tolerance; by default 1e-3, 1e-5, 1e-8 and 0.
        equal_nan: NaN equals NaN.
        msg: message of the error, or a function that makes it of the default one.

    Raises:
        AssertionError: they are not close, or their shapes differ.
        ArgumentError: only one tolerance is given.
    """
    if (rtol is None) != (atol is None):
        raise ArgumentError(f"give both rtol and atol, or neither, got rtol={rtol!r} and atol={atol!r}.")
    first = torch.as_tensor(actual)
    second = expected if issubclass(type(expected), Tensor) else torch.as_tensor(expected, device=first.device)
    if rtol is None or atol is None:
        allowed = [_TOLERANCES.get(item.dtype, (0.0, 0.0)) for item in (first, second)]
        rtol, atol = max(pair[0] for pair in allowed), max(pair[1] for pair in allowed)
    torch.testing.assert_close(
        first, second, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, check_stride=False, msg=msg or None
    )


def assert_dict_contains_subset(dict_obj: Mapping[Any, Any], expected_subset: Mapping[Any, Any]) -> bool:
    """Whether a dict has all items of another; arrays and tensors are compared as a whole."""
    return all(_equal(dict_obj.get(key, _MISSING), value) for key, value in expected_subset.items())


def assert_attrs_equal(obj: Any, expected_attrs: Mapping[str, Any]) -> bool:
    """Whether an object has attributes with these values; arrays and tensors are compared as a whole."""
    return all(_equal(getattr(obj, name, _MISSING), value) for name, value in expected_attrs.items())


def assert_dict_has_keys(obj: Mapping[str, Any], expected_keys: list[str]) -> bool:
    """Whether a dict has all these keys."""
    return set(expected_keys) <= set(obj)


def assert_keys_equal(result_keys: list[str], target_keys: list[str]) -> bool:
    """Whether two lists hold the same keys, whatever their order."""
    return set(result_keys) == set(target_keys)


def assert_is_norm_layer(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer."""
    return is_norm(module)


def assert_params_all_zeros(module: nn.Module) -> bool:
    """Whether the weight and the bias of a module, where it has them, are zero."""
    given = [getattr(module, name, None) for name in ("weight", "bias")]
    parameters = [parameter for parameter in given if parameter is not None]
    return not any(bool(parameter.detach().any()) for parameter in parameters)


def check_python_script(cmd: str) -> None:
    """Run a script in this process as if from the command line; what it raises is raised here.

    Args:
        cmd: the path of the script and its arguments, as one would type them; a `python` before it is left out.

    Raises:
        ArgumentTypeError: `cmd` is not a str.
        MissingFileError: there is no such script.
    """
    if type(cmd) is not str:
        raise ArgumentTypeError(f"cmd should be a command line such as 'tools/train.py config.py', got {cmd!r}.")
    arguments = shlex.split(cmd)
    if arguments[:1] in (["python"], ["python3"]):
        del arguments[0]
    if not arguments or not Path(arguments[0]).is_file():
        raise MissingFileError(f"there is no script {arguments[0] if arguments else ''!r} to run.")
    before = sys.argv
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        sys.argv = before


def _equal(first: Any, second: Any) -> bool:
    """Whether two values are equal; arrays and tensors element by element."""
    if any(hasattr(value, "__array__") for value in (first, second)):
        kinds = {issubclass(type(value), Tensor) for value in (first, second)}
        return len(kinds) == 1 and np.array_equal(_as_array(first), _as_array(second))
    return bool(first == second)


def _as_array(value: Any) -> Any:
    return value.detach().cpu().numpy() if issubclass(type(value), Tensor) else np.asarray(value)
