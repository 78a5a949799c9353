"""The version of this package, and of the contract it keeps."""

__version__ = "0.1.0"

CONTRACT_VERSION = "0.10.7"
"""Release of MMEngine whose public contract this package keeps; written into checkpoints as `mmengine_version`."""

version_info = tuple(int(part) for part in __version__.split("."))
