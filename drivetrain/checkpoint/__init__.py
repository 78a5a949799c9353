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
from ._loader import load_from_openmmlab as load_from_openmmlab
from ._loader import load_from_torchvision as load_from_torchvision
from ._match import MatchReport as MatchReport
from ._match import ShapeMismatch as ShapeMismatch
from ._match import match_state_dict as match_state_dict
from ._save import find_latest_checkpoint as find_latest_checkpoint
from ._save import save_checkpoint as save_checkpoint
from ._save import serialize_checkpoint as serialize_checkpoint
from ._weights import load_state_dict as load_state_dict
from ._wrappers import get_state_dict as get_state_dict
from ._wrappers import weights_to_cpu as weights_to_cpu
