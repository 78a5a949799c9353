#!/usr/bin/env bash
# Makes two scratch environments for the comparison: DIR/ours (OpenMMLab's packages, no mmengine, drivetrain from this
# tree) and DIR/theirs (the same packages, read from DIR/ours, and mmengine 0.10.7). torch is installed once.
#
#   benchmarks/openmmlab/setup_env.sh DIR [PYTHON]
set -euo pipefail

dir=$(mkdir -p "$1" && cd "$1" && pwd)
python=${2:-python3.11}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)

site_of() { "$1" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }

[ -d "$dir/ours" ] || "$python" -m venv "$dir/ours"
ours=$dir/ours/bin/python
"$ours" -m pip install -q torch==2.14.1 torchvision==0.29.1
# What the packages import of other people's, at the last releases their code was written for.
"$ours" -m pip install -q 'numpy==1.26.4' 'opencv-python-headless==4.10.0.84' 'pycocotools==2.0.8' 'scipy==1.13.1' \
  'matplotlib==3.9.4' 'shapely==2.0.7' 'pillow==11.3.0' 'packaging' 'six' 'terminaltables' 'tqdm' 'prettytable' \
  'addict==2.4.0' 'einops' 'importlib-metadata' 'mat4py' 'modelindex' 'ftfy' 'regex' 'rich>=13' 'PyYAML>=6' 'fsspec'
"$ours" -m pip install -q --no-deps mmcv-lite==2.1.0 mmpretrain==1.2.0 mmsegmentation==1.2.2 mmdet==3.3.0
site=$(site_of "$ours")
cp "$here/mmcv_ext/_ext.py" "$site/mmcv/_ext.py"
echo "$tree" > "$site/drivetrain-tree.pth"

[ -d "$dir/theirs" ] || "$python" -m venv "$dir/theirs"
theirs=$dir/theirs/bin/python
# A path in a .pth file is searched, its own .pth files are not read: theirs does not see drivetrain.
echo "$site" > "$(site_of "$theirs")/openmmlab-packages.pth"
"$theirs" -m pip install -q --no-deps mmengine==0.10.7 yapf==0.43.0 platformdirs termcolor==2.5.0

if "$ours" -c 'import mmengine' 2>/dev/null; then echo "mmengine must not be importable in $dir/ours" >&2; exit 1; fi
if (cd / && "$theirs" -c 'import drivetrain' 2>/dev/null); then echo "drivetrain is visible in $dir/theirs" >&2; exit 1; fi
echo "ours:   $ours"
echo "theirs: $theirs"
