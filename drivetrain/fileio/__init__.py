"""Read, write, list and copy files by path or URL.

Local paths go straight to the operating system; `s3://`, `https://`, `gs://`, `memory://` and every other scheme go
through fsspec, which is imported on first use.
"""

from ._atomic import atomic_write as atomic_write
from ._io import copyfile as copyfile
from ._io import exists as exists
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
from ._missing import missing_file as missing_file
from ._parse import dict_from_file as dict_from_file
from ._parse import list_from_file as list_from_file
from ._serialize import dump as dump
from ._serialize import load as load
