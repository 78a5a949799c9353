"""Configs: mappings that say what to build, read from files."""

from ._config import DEPRECATION_KEY as DEPRECATION_KEY
from ._config import RESERVED_KEYS as RESERVED_KEYS
from ._config import Config as Config
from ._dict import ConfigDict as ConfigDict
from ._dict import Origin as Origin
from ._dict import origins_of as origins_of
from ._file import BASE_KEY as BASE_KEY
from ._lazy import LazyAttr as LazyAttr
from ._lazy import LazyObject as LazyObject
from ._lazy_file import read_base as read_base
from ._merge import DELETE_KEY as DELETE_KEY
from ._model_index import ShippedModel as ShippedModel
from ._model_index import index_folder as index_folder
from ._model_index import models_in as models_in
from ._model_index import shipped_models as shipped_models
from ._options import DictAction as DictAction
from ._packages import MODULE2PACKAGE as MODULE2PACKAGE
from ._packages import config_folder as config_folder
from ._python_source import dump_python as dump_python
from ._python_source import is_config as is_config
