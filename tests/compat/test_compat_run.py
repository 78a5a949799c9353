"""`python -m drivetrain.compat`, and the processes that are started from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivetrain.compat._main import main


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_script_runs_as_python_runs_it_and_its_children_find_the_alias(run, tmp_path: Path) -> None:
    write(tmp_path, "tools/helper.py", "VALUE = 5\n")
    write(
        tmp_path,
        "tools/script.py",
        "from __future__ import annotations\n"
        "import importlib.metadata, os, subprocess, sys\n"
        "import helper, mmengine\n"
        "print(__name__, __file__, __spec__, sys.argv, helper.VALUE)\n"
        "print(sys.path[0] == os.path.join(os.getcwd(), 'tools'), sys.modules['__main__'].__dict__ is globals())\n"
        "print(importlib.metadata.version('mmengine'), mmengine.__version__)\n"
        "code = 'import mmengine, drivetrain.utils as u; print(mmengine.__version__, u.is_alias_active())'\n"
        "print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)\n"
        "sys.exit(3)\n",
    )
    out = run("-m", "drivetrain.compat", "tools/script.py", "--lr", "0.1", "-m", code=3)
    assert out.splitlines() == [
        "__main__ tools/script.py None ['tools/script.py', '--lr', '0.1', '-m'] 5",
        "True True",
        "0.10.7 0.10.7",
        "0.10.7 True",
        "",
    ]


def test_module_runs_as_python_runs_it(run, tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "")
    write(
        tmp_path, "pkg/__main__.py", "import sys, mmengine\nprint(__name__, __package__, sys.argv[1:], __spec__.name)\n"
    )
    out = run("-m", "drivetrain.compat", "-m", "pkg", "a", "--b")
    assert out == "__main__ pkg ['a', '--b'] pkg.__main__\n"


def test_spawned_worker_and_script_agree_on_class_identity(run, tmp_path: Path) -> None:
    write(
        tmp_path,
        "mine.py",
        "import sys\n"
        "from mmengine.structures import InstanceData\n"
        "class Mine(InstanceData):\n"
        "    pass\n"
        "def judge(data):\n"
        "    import drivetrain.runner, drivetrain.structures, mmengine.runner\n"
        "    same = mmengine.runner.Runner is drivetrain.runner.Runner\n"
        "    kinds = isinstance(data, Mine) and isinstance(data, drivetrain.structures.InstanceData)\n"
        "    return [same, kinds, type(data).__module__, 'mine' in sys.modules], data\n",
    )
    write(
        tmp_path,
        "script.py",
        "import multiprocessing, os\n"
        "import torch\n"
        "import mine, mmengine.structures\n"
        "if __name__ == '__main__':\n"
        "    sent = mine.Mine(boxes=torch.ones(2, 4))\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        verdict, back = pool.apply(mine.judge, (sent,))\n"
        "    print(verdict, type(back) is mine.Mine, isinstance(back, mmengine.structures.InstanceData), len(back))\n",
    )
    assert run("-m", "drivetrain.compat", "script.py") == "[True, True, 'mine', True] True True 2\n"


def test_error_of_a_script_is_not_swallowed(run, tmp_path: Path) -> None:
    write(tmp_path, "script.py", "import mmengine\nraise mmengine.utils.TimerError('mine')\n")
    out = run("-m", "drivetrain.compat", "script.py", code=1)
    assert "Traceback" in out and "TimerError: mine" in out and 'script.py", line 2' in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "usage: python -m drivetrain.compat SCRIPT"),
        (["--lr", "1"], 2, "there is no option --lr. The script comes first"),
        (["-m"], 2, "-m needs the name of a module"),
        (["absent.py"], 1, "there is no file 'absent.py'"),
        (["."], 1, ". is a folder. Name a Python file"),
    ],
)
def test_wrong_call_is_explained(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert message in capsys.readouterr().err


def test_help_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "install-shim" in capsys.readouterr().out
