"""Read, write, list and copy files by path or URL.

Local paths go straight to the operating system, `https://` through the standard library; `s3://`, `gs://`, `memory://`
and every other scheme go through fsspec, which is imported on first use. `register_backend` adds a storage of your own.
"""

from . import backends as backends
from ._atomic import atomic_write as atomic_write
from ._backend import BaseStorageBackend as BaseStorageBackend
from ._choice import get_file_backend as get_file_backend
from ._client import FileClient as FileClient
from ._client import HardDiskBackend as HardDiskBackend
from ._copy import copy_if_symlink_fails as copy_if_symlink_fails
from ._copy import copyfile as copyfile
from ._copy import copyfile_from_local as copyfile_from_local
from ._copy import copyfile_to_local as copyfile_to_local
from ._copy import copytree as copytree
from ._copy import copytree_from_local as copytree_from_local
from ._copy import copytree_to_local as copytree_to_local
from ._handlers import BaseFileHandler as BaseFileHandler
from ._handlers import JsonHandler as JsonHandler
from ._handlers import PickleHandler as PickleHandler
from ._handlers import YamlHandler as YamlHandler
from ._handlers import file_handlers as file_handlers
from ._handlers import register_handler as register_handler
from ._handlers import set_default as set_default
from ._http import HTTPBackend as HTTPBackend
from ._io import exists as exists
from ._io import generate_presigned_url as generate_presigned_url
from ._io import get as get
from ._io import get_local_path as get_local_path
from ._io import get_text as get_text
from ._io import isdir as isdir
from ._io import isfile as isfile
from ._io import join_path as join_path
from ._io import list_dir_or_file as list_dir_or_file
from ._io import put as put
from ._io import put_text as put_text
from ._io import remove as remove
from ._io import rmtree as rmtree
from ._lmdb import LmdbBackend as LmdbBackend
from ._local import LocalBackend as LocalBackend
from ._missing import missing_file as missing_file
from ._parse import dict_from_file as dict_from_file
from ._parse import list_from_file as list_from_file
from ._registry import backend_instances as backend_instances
from ._registry import prefix_to_backends as prefix_to_backends
from ._registry import register_backend as register_backend
from ._remote import FsspecBackend as FsspecBackend
from ._serialize import dump as dump
from ._serialize import load as load
