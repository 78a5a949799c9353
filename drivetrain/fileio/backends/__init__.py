"""Where files are kept: the backends, and the tables in which a path's scheme finds one."""

from drivetrain.fileio._backend import BaseStorageBackend as BaseStorageBackend
from drivetrain.fileio._http import HTTPBackend as HTTPBackend
from drivetrain.fileio._lmdb import LmdbBackend as LmdbBackend
from drivetrain.fileio._local import LocalBackend as LocalBackend
from drivetrain.fileio._registry import backends as backends
from drivetrain.fileio._registry import prefix_to_backends as prefix_to_backends
from drivetrain.fileio._registry import register_backend as register_backend
from drivetrain.fileio._remote import FsspecBackend as FsspecBackend
