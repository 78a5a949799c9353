"""Configs: mappings that say what to build."""

from ._python_source import dump_python as dump_python
from ._python_source import is_config as is_config
