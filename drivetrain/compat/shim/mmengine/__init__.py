"""`mmengine`, provided by drivetrain: importing this gives drivetrain's own modules under MMEngine's names."""

__drivetrain_shim__ = True


def _provide() -> None:
    """Hand over to drivetrain, which puts its module in the place of this one."""
    import importlib
    import sys
    from pathlib import Path

    try:
        compat = importlib.import_module("drivetrain.compat")
    except ModuleNotFoundError as error:
        if error.name != "drivetrain":
            raise
        # A child process of a run from a source tree: drivetrain stands where this file does.
        here = Path(__file__).resolve()
        root = here.parents[min(4, len(here.parents) - 1)]
        if here != root / "drivetrain" / "compat" / "shim" / "mmengine" / "__init__.py":
            raise ImportError(
                f"this mmengine ({here.parent}) is drivetrain under MMEngine's name, and drivetrain is not installed. "
                "Install it (pip install drivetrain), or remove this stand-in with: pip uninstall mmengine"
            ) from None
        sys.path.append(str(root))
        compat = importlib.import_module("drivetrain.compat")
    compat.install()


_provide()
