"""Small helpers on the standard library alone."""

from .manager import ManagerMeta as ManagerMeta
from .manager import ManagerMixin as ManagerMixin
from .objects import get_object_from_string as get_object_from_string
from .objects import is_list_of as is_list_of
from .objects import is_method_overridden as is_method_overridden
from .objects import is_seq_of as is_seq_of
from .objects import is_tuple_of as is_tuple_of
from .rank import process_count as process_count
from .rank import process_rank as process_rank
