#!/usr/bin/env bash
# Installs the peers that benchmarks/peers.py compares with: bash benchmarks/make_peers.sh FOLDER [PYTHON]
# Two environments, as PyTorch's and TensorFlow's peers want other versions of the same packages; about 9 GB, most of it PyTorch as it
# comes from PyPI. TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small one where that index can be reached.
set -euo pipefail
folder=${1:?a folder for the environments}
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)

for kind in keras torch; do
    "$python" -m venv "$folder/$kind"
done
"$folder/keras/bin/pip" install -r "$here/peers_requirements_keras.txt"
# Their declared requirements ask for an older TensorFlow with its CUDA libraries; they run with this one.
"$folder/keras/bin/pip" install --no-deps -r "$here/peers_requirements_keras_nodeps.txt"
# torch and torchvision have to be of one kind, both with CUDA or both without: torchvision's PyPI build loads libtorch_cuda.
"$folder/torch/bin/pip" install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r "$here/peers_requirements_torch.txt"
"$folder/torch/bin/pip" install -r "$here/peers_requirements_runtimes.txt"
