"""What happens around a step: hooks and the points they are called at."""

from ._defaults import default_hooks as default_hooks
from .checkpoint_hook import CheckpointHook as CheckpointHook
from .ema_hook import EMAHook as EMAHook
from .hook import DATA_BATCH as DATA_BATCH
from .hook import Hook as Hook
from .hook import method_at as method_at
from .hook import overrides_point as overrides_point
from .iter_timer_hook import IterTimerHook as IterTimerHook
from .logger_hook import LoggerHook as LoggerHook
from .param_scheduler_hook import ParamSchedulerHook as ParamSchedulerHook
from .progress_hook import ProgressHook as ProgressHook
from .progress_hook import progress_is_useful as progress_is_useful
from .runtime_info_hook import RuntimeInfoHook as RuntimeInfoHook
from .sampler_seed_hook import DistSamplerSeedHook as DistSamplerSeedHook
from .sync_buffer_hook import SyncBuffersHook as SyncBuffersHook
