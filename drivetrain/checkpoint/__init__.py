"""Checkpoint files: what may stand in one, how it is written and read, and how weights get into a model.

Nothing in a file is ever run: ours load with `torch.load(weights_only=True)` and no allow-list.
"""

from ._codec import decode as decode
from ._codec import encode as encode
from ._load import _load_checkpoint as _load_checkpoint
from ._load import _load_checkpoint_to_model as _load_checkpoint_to_model
from ._load import _load_checkpoint_with_prefix as _load_checkpoint_with_prefix
from ._load import load_checkpoint as load_checkpoint
from ._load import load_checkpoint_with_prefix as load_checkpoint_with_prefix
from ._loader import CheckpointLoader as CheckpointLoader
from ._loader import load_from_ceph as load_from_ceph
from ._loader import load_from_http as load_from_http
from ._loader import load_from_local as load_from_local
from ._loader import load_from_mmcls as load_from_mmcls
from ._loader import load_from_openmmlab as load_from_openmmlab
from ._loader import load_from_pavi as load_from_pavi
from ._loader import load_from_torchvision as load_from_torchvision
from ._match import MatchReport as MatchReport
from ._match import ShapeMismatch as ShapeMismatch
from ._match import match_state_dict as match_state_dict
from ._model_tables import DEFAULT_CACHE_DIR as DEFAULT_CACHE_DIR
from ._model_tables import ENV_MMENGINE_HOME as ENV_MMENGINE_HOME
from ._model_tables import ENV_XDG_CACHE_HOME as ENV_XDG_CACHE_HOME
from ._model_tables import get_deprecated_model_names as get_deprecated_model_names
from ._model_tables import get_external_models as get_external_models
from ._model_tables import get_mmcls_models as get_mmcls_models
from ._model_tables import get_torchvision_models as get_torchvision_models
from ._save import save_checkpoint as save_checkpoint
from ._save import serialize_checkpoint as serialize_checkpoint
from ._search import find_good_checkpoint as find_good_checkpoint
from ._search import find_latest_checkpoint as find_latest_checkpoint
from ._verify import FileReport as FileReport
from ._verify import verify_checkpoint as verify_checkpoint
from ._weights import load_state_dict as load_state_dict
from ._wrappers import get_state_dict as get_state_dict
from ._wrappers import weights_to_cpu as weights_to_cpu
from ._writer import CheckpointWriter as CheckpointWriter
from ._writer import wait_for_saves as wait_for_saves
