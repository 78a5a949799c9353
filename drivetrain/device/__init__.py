"""What the machine computes on: the accelerator torch reports, by name, its memory, and copies to it."""

from ._environment import collect_env as collect_env
from ._kind import get_device as get_device
from ._kind import has_pinned_memory as has_pinned_memory
from ._kind import is_cuda_available as is_cuda_available
from ._kind import is_dipu_available as is_dipu_available
from ._kind import is_mlu_available as is_mlu_available
from ._kind import is_mps_available as is_mps_available
from ._kind import is_musa_available as is_musa_available
from ._kind import is_npu_available as is_npu_available
from ._kind import is_npu_support_full_precision as is_npu_support_full_precision
from ._memory import get_max_cuda_memory as get_max_cuda_memory
from ._memory import get_max_musa_memory as get_max_musa_memory
from ._memory import max_memory_mb as max_memory_mb
from ._prefetcher import Prefetcher as Prefetcher
from ._prefetcher import Stream as Stream
from ._prefetcher import Streams as Streams
from ._prefetcher import streams_of as streams_of
