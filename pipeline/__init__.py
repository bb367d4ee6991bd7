"""What a classifier sees in pictures and videos, and where it looks. Import a module of it; there is nothing here itself."""

import os
import platform

# TensorFlow takes oneDNN by itself only on processors with AVX-512 VNNI or the like, and convolves with Eigen on all others: on one with
# AVX2 the network takes 1.7 times as long then. It reads this when it is imported, which no module here does before this line.
if platform.machine().lower() in ("x86_64", "amd64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
