"""The model zoo: configs and models of installed packages."""

from ._hub import get_config as get_config
from ._hub import get_model as get_model
