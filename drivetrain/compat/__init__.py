"""The `mmengine` alias: code that was written for MMEngine runs on drivetrain, unchanged.

`install()` in a program, or `python -m drivetrain.compat script.py args...` for a whole script; see
`python -m drivetrain.compat --help`.
"""

from ._install import install as install
from ._install import uninstall as uninstall
from ._left_out import why_left_out as why_left_out
