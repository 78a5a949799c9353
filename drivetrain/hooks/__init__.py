"""What happens around a step: hooks and the points they are called at."""

from .hook import DATA_BATCH as DATA_BATCH
from .hook import Hook as Hook
from .hook import overrides_point as overrides_point
