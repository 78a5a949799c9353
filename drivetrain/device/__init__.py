"""What the machine computes on: the accelerator torch reports, by name, and its memory."""

from ._kind import get_device as get_device
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
