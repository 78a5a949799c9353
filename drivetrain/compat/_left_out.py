"""Names of MMEngine that drivetrain does not have: why, and what to use instead."""

from __future__ import annotations

REASONS = {
    "vendor": "it serves hardware or storage of one vendor. Devices go through torch.accelerator (drivetrain.device), "
    "storage through fsspec (drivetrain.fileio); a plug-in can register the rest",
    "storage": "it serves a storage that nobody keeps up. Use drivetrain.fileio, which reaches s3://, gs://, https:// "
    "and more through fsspec; drivetrain.fileio.register_backend adds a storage of your own",
    "tracker": "no package uses it. Use another backend of drivetrain.visualization, or register a class of your own "
    "derived from BaseVisBackend",
    "fsdp": "it wraps the first FSDP of torch, which torch has replaced. Use torch.distributed.fsdp.fully_shard in a "
    "strategy of your own (drivetrain.parallel.Strategy)",
    "flexible": "drivetrain has one Runner for every way of training. Use drivetrain.runner.Runner(..., strategy=...) "
    "with a strategy of drivetrain.parallel",
    "deepspeed": "DeepSpeed is not supported. Use drivetrain.runner.Runner with a strategy of drivetrain.parallel",
    "colossal": "ColossalAI is not supported. Use drivetrain.runner.Runner with a strategy of drivetrain.parallel",
    "flops": "FLOPs are counted by torch.utils.flop_counter, not by tracing. Use "
    "drivetrain.analysis.get_model_complexity_info, or FlopAnalyzer.set_op_handle with a function of your own",
    "parser": "it is an inner part of MMEngine's config parser, and drivetrain's parser has no such part. Use "
    "drivetrain.config.Config.fromfile",
    "own tests": "it serves MMEngine's own tests. Use drivetrain.testing, or write it in your tests",
    "type variable": "it is a type variable of a file. Write typing.TypeVar('T')",
}
"""What is left out, in a sentence that follows "because" and one that names the way out."""

LEFT_OUT = {
    "vendor": """
        hooks.NPUProfilerHook hooks.profiler_hook.NPUProfilerHook device.utils.npu_jit_compile
    """,
    "storage": """
        PetrelBackend fileio.PetrelBackend fileio.backends.PetrelBackend fileio.backends.petrel_backend.PetrelBackend
        MemcachedBackend fileio.MemcachedBackend fileio.backends.MemcachedBackend
        fileio.backends.memcached_backend.MemcachedBackend runner.checkpoint.load_from_pavi
    """,
    "tracker": """
        visualization.AimVisBackend visualization.vis_backend.AimVisBackend
        visualization.NeptuneVisBackend visualization.vis_backend.NeptuneVisBackend
    """,
    "fsdp": """
        model.MMFullyShardedDataParallel model.wrappers.MMFullyShardedDataParallel
        model.wrappers.fully_sharded_distributed.MMFullyShardedDataParallel
    """,
    "flexible": """
        runner.FlexibleRunner runner._flexible_runner.FlexibleRunner runner._flexible_runner.ConfigType
        runner._flexible_runner.ParamSchedulerType runner._flexible_runner.OptimWrapperType
        _strategy.BaseStrategy _strategy.DDPStrategy _strategy.FSDPStrategy _strategy.SingleDeviceStrategy
        _strategy.base.BaseStrategy _strategy.base.ParamSchedulerType _strategy.distributed.DDPStrategy
        _strategy.fsdp.FSDPStrategy _strategy.fsdp.FSDP _strategy.fsdp.FSDP_CONFIGS
        _strategy.single_device.SingleDeviceStrategy _strategy.utils.MetaTensorContext
    """,
    "deepspeed": """
        _strategy.DeepSpeedStrategy _strategy.deepspeed.DeepSpeedStrategy _strategy.deepspeed.deepspeed
        _strategy.deepspeed.register_deepspeed_optimizers _strategy.deepspeed.DeepSpeedOptimWrapper
        _strategy.deepspeed.MMDeepSpeedEngineWrapper
    """,
    "colossal": """
        _strategy.ColossalAIStrategy _strategy.colossalai.ColossalAIStrategy _strategy.colossalai.colossalai
        _strategy.colossalai.colo_precision _strategy.colossalai.colo_plugin _strategy.colossalai.colo_optimizer
        _strategy.colossalai.Booster _strategy.colossalai.ModelWrapper _strategy.colossalai.PLUGINS
        _strategy.colossalai.MIXED_PRECISIONS _strategy.colossalai.register_plugins
        _strategy.colossalai.register_optimizers _strategy.colossalai.register_mixed_precisions
        _strategy.colossalai.ColossalAIOptimWrapper _strategy.colossalai.ColossalAIModelWrapper
    """,
    "flops": """
        analysis.jit_handles.prod analysis.jit_handles.generic_activation_jit analysis.jit_handles.addmm_flop_jit
        analysis.jit_handles.linear_flop_jit analysis.jit_handles.bmm_flop_jit analysis.jit_handles.conv_flop_jit
        analysis.jit_handles.einsum_flop_jit analysis.jit_handles.matmul_flop_jit
        analysis.jit_handles.batchnorm_flop_jit
    """,
    "parser": """
        config.utils.PYTHON_ROOT_DIR config.utils.SYSTEM_PYTHON_PREFIX config.utils.RemoveAssignFromAST
        config.utils.ImportTransformer
    """,
    "own tests": """
        utils.dl_utils.visualize.ToyModel utils.dl_utils.visualize.update_params_step
        utils.dl_utils.visualize.runtimeinfo_step utils.dl_utils.visualize.fake_run
        testing._internal.MultiProcessTestCase testing._internal.distributed.MultiProcessTestCase
        testing._internal.distributed.TestSkip testing._internal.distributed.TEST_SKIPS
        testing._internal.distributed.logger
    """,
    "type variable": "utils.manager.T analysis.jit_analysis.T",
}
"""Reason -> `module.Name` below `mmengine`, for names that other code could import."""

_REASON_OF = {path: reason for reason, paths in LEFT_OUT.items() for path in paths.split()}

LEFT_OUT_MODULES = {
    ".".join(parts[:depth])
    for parts in (path.split(".")[:-1] for path in _REASON_OF)
    for depth in range(1, len(parts) + 1)
}
"""Modules below `mmengine` that hold a left-out name, with the packages they lie in."""


def why_left_out(path: str) -> str | None:
    """What to tell who asks for the left-out name `path` (`runner.FlexibleRunner`), or None if it is not left out."""
    reason = _REASON_OF.get(path)
    return (
        None
        if reason is None
        else f"mmengine.{path} exists in MMEngine and is left out of drivetrain: {REASONS[reason]}."
    )
