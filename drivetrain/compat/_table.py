"""What `mmengine` holds, module by module: the one table of the alias.

A key is a module path below `mmengine`. Its words are names; each is found in the room that the path begins with
(`runner.checkpoint` -> `drivetrain.runner`) until a word with a colon names another module of drivetrain:
`checkpoint:` sends the words after it to `drivetrain.checkpoint`. `new=old` is a name that is called otherwise there.

A path that drivetrain has too (`runner`, `hooks.hook`) is that very module; its words here are added to what it holds.
"""

from __future__ import annotations

ROOMS = (
    "analysis", "config", "dataset", "device", "dist", "evaluator", "fileio", "hooks", "hub", "infer", "logging",
    "model", "optim", "registry", "runner", "structures", "testing", "utils", "visualization",
)  # fmt: skip
"""The modules directly below `mmengine` that are rooms of drivetrain: the same objects."""

_SCHEDULERS = """
    Constant{0} CosineAnnealing{0} CosineRestart{0} Exponential{0} Linear{0} MultiStep{0} Poly{0} ReduceOnPlateau{0}
    Step{0}
"""
_LOADERS = "load_from_http load_from_local load_from_openmmlab load_from_torchvision load_from_ceph load_from_mmcls"

NAMES: dict[str, str] = {
    "": """
    config: Config ConfigDict DictAction read_base
    fileio: BaseFileHandler BaseStorageBackend FileClient HTTPBackend HardDiskBackend JsonHandler LmdbBackend
        LocalBackend PickleHandler YamlHandler copy_if_symlink_fails copyfile
        copyfile_from_local copyfile_to_local copytree copytree_from_local copytree_to_local dict_from_file dump exists
        generate_presigned_url get get_file_backend get_local_path get_text isdir isfile join_path list_dir_or_file
        list_from_file load put put_text register_backend register_handler remove rmtree
    logging: HistoryBuffer MMLogger MessageHub print_log
    registry: DATASETS DATA_SAMPLERS DefaultScope EVALUATOR FUNCTIONS HOOKS INFERENCERS LOG_PROCESSORS LOOPS METRICS
        MODELS MODEL_WRAPPERS OPTIMIZERS OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS PARAM_SCHEDULERS RUNNERS
        RUNNER_CONSTRUCTORS Registry STRATEGIES TASK_UTILS TRANSFORMS VISBACKENDS VISUALIZERS WEIGHT_INITIALIZERS
        build_from_cfg build_model_from_cfg build_runner_from_cfg build_scheduler_from_cfg count_registered_modules
        init_default_scope traverse_registry_tree
    utils: ManagerMeta ManagerMixin ProgressBar Timer TimerError apply_to call_command check_file_exist
        check_prerequisites check_time concat_list deprecated_api_warning deprecated_function digit_version fopen
        get_git_hash get_installed_path get_object_from_string has_method import_modules_from_strings install_package
        is_abs is_filepath is_installed is_list_of is_method_overridden is_seq_of is_str is_tuple_of iter_cast list_cast
        mkdir_or_exist requires_executable requires_package scandir slice_list symlink to_1tuple to_2tuple to_3tuple
        to_4tuple to_ntuple track_iter_progress track_parallel_progress track_progress track_progress_rich tuple_cast
    compat._version: __version__ version_info
    """,
    "version": "compat._version: __version__ parse_version_info version_info",
    "analysis.complexity_analysis": """
        ActivationAnalyzer FlopAnalyzer activation_count flop_count parameter_count parameter_count_table
    """,
    "analysis.jit_analysis": "JitModelAnalysis Statistics",
    "analysis.jit_handles": "Handle conv_flop_count elementwise_flop_counter get_shape norm_flop_counter",
    "analysis.print_helper": "_format_size complexity_stats_str complexity_stats_table get_model_complexity_info",
    "config.config": """
        BASE_KEY Config ConfigDict DELETE_KEY DEPRECATION_KEY DictAction RESERVED_KEYS read_base
        compat._config: add_args
    """,
    "config.lazy": "LazyAttr LazyObject",
    "config.utils": "MODULE2PACKAGE compat._config: PKG2PROJECT errors: ConfigParsingError",
    "dataset.base_dataset": "BaseDataset Compose force_full_init",
    "dataset.dataset_wrapper": "ClassBalancedDataset ConcatDataset RepeatDataset dataset: BaseDataset force_full_init",
    "dataset.sampler": "DefaultSampler InfiniteSampler",
    "dataset.utils": "COLLATE_FUNCTIONS default_collate pseudo_collate worker_init_fn",
    "device.utils": """
        get_device get_max_cuda_memory get_max_musa_memory is_cuda_available is_dipu_available is_mlu_available
        is_mps_available is_musa_available is_npu_available is_npu_support_full_precision
        compat._types: DEVICE IS_DIPU_AVAILABLE IS_MLU_AVAILABLE IS_MUSA_AVAILABLE IS_NPU_AVAILABLE
    """,
    "dist.dist": """
        all_gather all_gather_object all_reduce all_reduce_dict all_reduce_params broadcast broadcast_object_list
        collect_results collect_results_cpu collect_results_gpu gather gather_object sync_random_seed
    """,
    "dist.utils": """
        barrier cast_data_device get_backend get_comm_device get_data_device get_default_group get_dist_info
        get_local_group get_local_rank get_local_size get_rank get_world_size infer_launcher init_dist
        init_local_group is_distributed is_main_process master_only
    """,
    "evaluator.evaluator": "Evaluator",
    "evaluator.metric": "BaseMetric DumpResults _to_cpu",
    "evaluator.utils": "get_metric_value",
    "fileio.backends": """
        BaseStorageBackend HTTPBackend LmdbBackend LocalBackend register_backend
        fileio.backends: backends prefix_to_backends
    """,
    "fileio.backends.base": "BaseStorageBackend",
    "fileio.backends.http_backend": "HTTPBackend",
    "fileio.backends.lmdb_backend": "LmdbBackend",
    "fileio.backends.local_backend": "LocalBackend",
    "fileio.backends.registry_utils": "register_backend fileio.backends: backends prefix_to_backends",
    "fileio.file_client": "FileClient HardDiskBackend",
    "fileio.handlers": """
        BaseFileHandler JsonHandler PickleHandler YamlHandler file_handlers register_handler
    """,
    "fileio.handlers.base": "BaseFileHandler",
    "fileio.handlers.json_handler": "JsonHandler set_default",
    "fileio.handlers.pickle_handler": "PickleHandler",
    "fileio.handlers.registry_utils": "file_handlers register_handler",
    "fileio.handlers.yaml_handler": "YamlHandler",
    "fileio.io": """
        backend_instances copy_if_symlink_fails copyfile copyfile_from_local copyfile_to_local copytree
        copytree_from_local copytree_to_local dump exists generate_presigned_url get get_file_backend get_local_path
        get_text isdir isfile join_path list_dir_or_file load put put_text remove rmtree
    """,
    "fileio.parse": "dict_from_file list_from_file",
    "hooks.checkpoint_hook": "CheckpointHook DATA_BATCH",
    "hooks.early_stopping_hook": "EarlyStoppingHook DATA_BATCH",
    "hooks.ema_hook": "EMAHook",
    "hooks.empty_cache_hook": "EmptyCacheHook DATA_BATCH",
    "hooks.hook": "Hook DATA_BATCH",
    "hooks.iter_timer_hook": "IterTimerHook DATA_BATCH",
    "hooks.logger_hook": "LoggerHook DATA_BATCH SUFFIX_TYPE",
    "hooks.naive_visualization_hook": "NaiveVisualizationHook DATA_BATCH",
    "hooks.param_scheduler_hook": "ParamSchedulerHook DATA_BATCH",
    "hooks.profiler_hook": "ProfilerHook check_kineto",
    "hooks.runtime_info_hook": "RuntimeInfoHook DATA_BATCH",
    "hooks.sampler_seed_hook": "DistSamplerSeedHook",
    "hooks.sync_buffer_hook": "SyncBuffersHook",
    "hooks.test_time_aug_hook": "PrepareTTAHook build_runner_with_tta",
    "hub.hub": "get_config get_model",
    "infer.infer": """
        BaseInferencer ConfigType ImgType InferencerMeta InputType InputsType InstanceList ModelType ResType
    """,
    "logging.history_buffer": "HistoryBuffer",
    "logging.logger": "FilterDuplicateWarning MMFormatter MMLogger print_log",
    "logging.message_hub": "MessageHub",
    "model.averaged_model": """
        BaseAveragedModel ExponentialMovingAverage MomentumAnnealingEMA StochasticWeightAverage
    """,
    "model.base_model.base_model": "BaseModel",
    "model.base_model.data_preprocessor": """
        BaseDataPreprocessor CastData ImgDataPreprocessor
    """,
    "model.base_module": "BaseModule ModuleDict ModuleList Sequential",
    "model.efficient_conv_bn_eval": """
        efficient_conv_bn_eval_control efficient_conv_bn_eval_forward efficient_conv_bn_eval_graph_transform
        turn_on_efficient_conv_bn_eval turn_on_efficient_conv_bn_eval_for_single_model
    """,
    "model.test_time_aug": """
        BaseTTAModel DATA_BATCH EnhancedBatchDataSamples EnhancedBatchInputs MergedDataSamples
    """,
    "model.utils": """
        convert_sync_batchnorm detect_anomalous_params merge_dict revert_sync_batchnorm stack_batch
    """,
    "model.weight_init": """
        BaseInit Caffe2XavierInit ConstantInit KaimingInit NormalInit PretrainedInit TruncNormalInit UniformInit
        XavierInit bias_init_with_prob caffe2_xavier_init constant_init initialize kaiming_init normal_init
        trunc_normal_ trunc_normal_init uniform_init update_init_info xavier_init
    """,
    "model.wrappers.distributed": "MMDistributedDataParallel",
    "model.wrappers.seperate_distributed": "MMSeparateDistributedDataParallel",
    "model.wrappers.utils": "is_model_wrapper",
    "optim.optimizer.amp_optimizer_wrapper": "AmpOptimWrapper",
    "optim.optimizer.apex_optimizer_wrapper": "ApexOptimWrapper apex_amp",
    "optim.optimizer.base": "BaseOptimWrapper",
    "optim.optimizer.builder": """
        BITSANDBYTES_OPTIMIZERS DADAPTATION_OPTIMIZERS LION_OPTIMIZERS NPU_OPTIMIZERS SOPHIA_OPTIMIZERS TORCH_OPTIMIZERS
        TRANSFORMERS_OPTIMIZERS build_optim_wrapper register_bitsandbytes_optimizers register_dadaptation_optimizers
        register_lion_optimizers register_sophia_optimizers register_torch_npu_optimizers register_torch_optimizers
        register_transformers_optimizers
    """,
    "optim.optimizer.default_constructor": "DefaultOptimWrapperConstructor",
    "optim.optimizer.optimizer_wrapper": "OptimWrapper",
    "optim.optimizer.optimizer_wrapper_dict": "OptimWrapperDict",
    "optim.optimizer.zero_optimizer": "ZeroRedundancyOptimizer",
    "optim.scheduler.lr_scheduler": _SCHEDULERS.format("LR") + "OneCycleLR optim.scheduler: LRSchedulerMixin",
    "optim.scheduler.momentum_scheduler": _SCHEDULERS.format("Momentum") + "optim.scheduler: MomentumSchedulerMixin",
    "optim.scheduler.param_scheduler": _SCHEDULERS.format("ParamScheduler")
    + "OneCycleParamScheduler _ParamScheduler optim.scheduler: INF compat._types: OptimizerType",
    "registry.build_functions": """
        build_from_cfg build_model_from_cfg build_optimizer_from_cfg build_runner_from_cfg build_scheduler_from_cfg
    """,
    "registry.default_scope": "DefaultScope",
    "registry.registry": "Registry",
    "registry.root": """
        DATASETS DATA_SAMPLERS EVALUATOR FUNCTIONS HOOKS INFERENCERS LOG_PROCESSORS LOOPS METRICS MODELS MODEL_WRAPPERS
        OPTIMIZERS OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS PARAM_SCHEDULERS RUNNERS RUNNER_CONSTRUCTORS STRATEGIES
        TASK_UTILS TRANSFORMS VISBACKENDS VISUALIZERS WEIGHT_INITIALIZERS
    """,
    "registry.utils": "count_registered_modules init_default_scope traverse_registry_tree",
    "runner.activation_checkpointing": "turn_on_activation_checkpointing wrap_forward",
    "runner.amp": "autocast",
    "runner.base_loop": "BaseLoop",
    "runner.checkpoint": f"""
        CheckpointLoader find_latest_checkpoint get_deprecated_model_names get_external_models get_mmcls_models
        get_state_dict get_torchvision_models load_checkpoint load_state_dict save_checkpoint weights_to_cpu
        checkpoint: _load_checkpoint _load_checkpoint_to_model _load_checkpoint_with_prefix {_LOADERS}
        compat._config: DEFAULT_CACHE_DIR ENV_MMENGINE_HOME ENV_XDG_CACHE_HOME
    """,
    "runner.log_processor": "LogProcessor",
    "runner.loops": """
        BaseLoop EpochBasedTrainLoop IterBasedTrainLoop TestLoop ValLoop
        runner.loops: _InfiniteDataloaderIterator
    """,
    "runner.priority": "Priority get_priority",
    "runner.runner": "OptimWrapperType ParamSchedulerType Runner compat._types: ConfigType",
    "runner.utils": "set_random_seed runner.loops: calc_dynamic_intervals",
    "structures.base_data_element": "BaseDataElement",
    "structures.instance_data": "BoolTypeTensor IndexType InstanceData LongTypeTensor",
    "structures.label_data": "LabelData",
    "structures.pixel_data": "PixelData",
    "testing.compare": """
        assert_allclose assert_attrs_equal assert_dict_contains_subset assert_dict_has_keys assert_is_norm_layer
        assert_keys_equal assert_params_all_zeros check_python_script
    """,
    "testing.runner_test_case": "RunnerTestCase ToyDataset ToyMetric ToyModel",
    "utils.dl_utils": """
        tensors: has_batch_norm is_norm
        device: collect_env
        compat._dl_utils: TORCH_VERSION TimeCounter is_jit_tracing load_url mmcv_full_available set_multi_processing
            tensor2imgs torch_meshgrid
    """,
    "utils.dl_utils.collect_env": "device: collect_env",
    "utils.dl_utils.hub": "compat._dl_utils: load_url",
    "utils.dl_utils.misc": """
        tensors: has_batch_norm is_norm compat._dl_utils: mmcv_full_available tensor2imgs
    """,
    "utils.dl_utils.parrots_wrapper": """
        tensors: SyncBatchNorm _BatchNorm _ConvNd _InstanceNorm
        compat._parrots: DataLoader PoolDataLoader SyncBatchNorm_ TORCH_VERSION _AdaptiveAvgPoolNd _AdaptiveMaxPoolNd
            _AvgPoolNd _ConvTransposeMixin _MaxPoolNd _get_cuda_home get_build_config is_rocm_pytorch
    """,
    "utils.dl_utils.setup_env": "compat._dl_utils: set_multi_processing",
    "utils.dl_utils.time_counter": "compat._dl_utils: TimeCounter",
    "utils.dl_utils.torch_ops": "compat._dl_utils: torch_meshgrid",
    "utils.dl_utils.trace": "compat._dl_utils: is_jit_tracing",
    "utils.manager": "ManagerMeta ManagerMixin",
    "utils.misc": """
        apply_to check_prerequisites concat_list deprecated_api_warning deprecated_function get_object_from_string
        has_method import_modules_from_strings is_list_of is_method_overridden is_seq_of is_str is_tuple_of iter_cast
        list_cast requires_executable requires_package slice_list to_1tuple to_2tuple to_3tuple to_4tuple to_ntuple
        tuple_cast
    """,
    "utils.package_utils": "call_command get_installed_path install_package is_installed package2module",
    "utils.path": "check_file_exist find_vcs_root fopen is_abs is_filepath mkdir_or_exist scandir symlink",
    "utils.progressbar": "ProgressBar init_pool track_iter_progress track_parallel_progress track_progress",
    "utils.progressbar_rich": "track_progress_rich",
    "utils.timer": "Timer TimerError check_time",
    "utils.version_utils": "digit_version get_git_hash",
    "visualization.utils": """
        check_length check_type check_type_and_length color_str2rgb color_val_matplotlib convert_overlay_heatmap
        img_from_canvas tensor2ndarray value2list wait_continue
    """,
    "visualization.vis_backend": """
        BaseVisBackend ClearMLVisBackend DVCLiveVisBackend LocalVisBackend MLflowVisBackend TensorboardVisBackend
        WandbVisBackend force_init_env
    """,
    "visualization.visualizer": "Visualizer VisBackendsType",
}
"""Module path below `mmengine` -> names. `""` is `mmengine` itself."""
