"""What happens around a step: hooks and the points they are called at."""

from ._defaults import default_hooks as default_hooks
from .checkpoint_hook import CheckpointHook as CheckpointHook
from .early_stopping_hook import EarlyStoppingHook as EarlyStoppingHook
from .ema_hook import EMAHook as EMAHook
from .empty_cache_hook import EmptyCacheHook as EmptyCacheHook
from .hook import DATA_BATCH as DATA_BATCH
from .hook import Hook as Hook
from .hook import method_at as method_at
from .hook import overrides_point as overrides_point
from .iter_timer_hook import IterTimerHook as IterTimerHook
from .logger_hook import SUFFIX_TYPE as SUFFIX_TYPE
from .logger_hook import LoggerHook as LoggerHook
from .naive_visualization_hook import NaiveVisualizationHook as NaiveVisualizationHook
from .non_finite_hook import NonFiniteHook as NonFiniteHook
from .non_finite_hook import RollBack as RollBack
from .param_scheduler_hook import ParamSchedulerHook as ParamSchedulerHook
from .profiler_hook import ProfilerHook as ProfilerHook
from .profiler_hook import check_kineto as check_kineto
from .progress_hook import ProgressHook as ProgressHook
from .progress_hook import progress_is_useful as progress_is_useful
from .runtime_info_hook import RuntimeInfoHook as RuntimeInfoHook
from .sampler_seed_hook import DistSamplerSeedHook as DistSamplerSeedHook
from .sync_buffer_hook import SyncBuffersHook as SyncBuffersHook
from .test_time_aug_hook import PrepareTTAHook as PrepareTTAHook
from .test_time_aug_hook import build_runner_with_tta as build_runner_with_tta
