"""Write the config file of one case: ``PREFIX prepare.py CASE DATA_DIR OUT.py`` (run by `drive.py` under each engine).

Reads the config shipped in the installed wheel by `Config.fromfile`, changes it as `cases.py` says, dumps it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from cases import CASES, adapt
from mmengine.config import Config


def main(name: str, data: str, out: str) -> None:
    """Load, change, dump."""
    case = CASES[name]
    package = Path(find_spec(case.package).origin).parent
    cfg = Config.fromfile(package / ".mim" / "configs" / case.config)
    adapt(cfg, case, data)
    cfg.dump(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
