"""Helpers for the tests of code that is built on drivetrain."""

from ._compare import assert_allclose as assert_allclose
from ._compare import assert_attrs_equal as assert_attrs_equal
from ._compare import assert_dict_contains_subset as assert_dict_contains_subset
from ._compare import assert_dict_has_keys as assert_dict_has_keys
from ._compare import assert_is_norm_layer as assert_is_norm_layer
from ._compare import assert_keys_equal as assert_keys_equal
from ._compare import assert_params_all_zeros as assert_params_all_zeros
from ._compare import check_python_script as check_python_script
from ._runner_test_case import RunnerTestCase as RunnerTestCase
from ._runner_test_case import ToyDataset as ToyDataset
from ._runner_test_case import ToyMetric as ToyMetric
from ._runner_test_case import ToyModel as ToyModel
