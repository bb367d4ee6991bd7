"""What people write for videos, each as a program of its own, for peers.py: python benchmarks/whole_programs.py NAME FOLDER

The folder holds job.json: the clip, how many frames to explain, the ffmpeg to use. `classic` is the script of many tutorials: frames as
files, VGG-16 (with random weights, which cost the same), Keras' own Grad-CAM example with its two models built for every frame, the
overlay as a file, and ffmpeg for the video. `modern` reads and writes with OpenCV and explains each frame with pytorch-grad-cam, on
the embedded network's weights. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import lite0
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Array = np.ndarray[Any, Any]


class Program(NamedTuple):
    packages: tuple[str, ...]
    run: Callable[[Path, Mapping[str, Any]], tuple[float, int]]  # seconds beyond loading, and for how many frames
    lacks: str


# ------------------------------------------------------------------------------------------------ the classic script


def classic(folder: Path, job: Mapping[str, Any]) -> tuple[float, int]:
    """Taking the clip apart is counted by the frames of the clip, all else by those that are explained."""
    from keras.applications.vgg16 import VGG16

    model = VGG16(weights=None)
    frames, results = folder / "frames", folder / "results"
    for made in (frames, results):
        made.mkdir(exist_ok=True)
    started = time.perf_counter()
    _ffmpeg(job, "-i", job["clip"], str(frames / "%05d.jpg"))
    paths = sorted(frames.glob("*.jpg"))
    apart = (time.perf_counter() - started) / len(paths)
    shown = paths[: job["frames"]]
    started = time.perf_counter()
    for path in shown:
        _overlay(path, _keras_heatmap(path, model), results / path.name)
    _ffmpeg(job, "-framerate", "25", "-i", str(results / "%05d.jpg"), "-pix_fmt", "yuv420p", str(folder / "classic.mp4"))
    return time.perf_counter() - started + apart * len(shown), len(shown)


def _ffmpeg(job: Mapping[str, Any], *arguments: str) -> None:
    subprocess.run([job["ffmpeg"], "-loglevel", "error", "-nostdin", "-y", *arguments], check=True)


def _keras_heatmap(path: Path, model: Any) -> Array:
    """Keras' example "Grad-CAM class activation visualization" as it was first published, both models and the loop included."""
    import keras
    import tensorflow as tf

    pixels = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(224, 224)))[None]
    pixels = keras.applications.vgg16.preprocess_input(pixels)
    last = model.get_layer("block5_conv3")
    until = keras.Model(model.inputs, last.output)
    x = behind = keras.Input(shape=last.output.shape[1:])
    for name in ("block5_pool", "flatten", "fc1", "fc2", "predictions"):
        x = model.get_layer(name)(x)
    head = keras.Model(behind, x)
    with tf.GradientTape() as tape:
        activations = until(pixels)
        tape.watch(activations)
        scores = head(activations)
        best = scores[:, tf.argmax(scores[0])]
    weights = tf.reduce_mean(tape.gradient(best, activations), axis=(0, 1, 2)).numpy()
    channels = activations.numpy()[0]
    for index in range(weights.shape[-1]):
        channels[:, :, index] *= weights[index]
    heat = np.maximum(np.mean(channels, axis=-1), 0)
    return np.asarray(heat / max(float(heat.max()), 1e-12))


def _overlay(path: Path, heat: Array, output: Path) -> None:
    import keras
    import matplotlib

    picture = keras.utils.img_to_array(keras.utils.load_img(path))
    colours = matplotlib.colormaps["jet"](np.arange(256))[:, :3]
    coloured = keras.utils.array_to_img(colours[np.uint8(255 * heat)])
    coloured = keras.utils.img_to_array(coloured.resize((picture.shape[1], picture.shape[0])))
    keras.utils.array_to_img(coloured * 0.4 + picture).save(output)


# ------------------------------------------------------------------------------------------------ the modern one


def modern(folder: Path, job: Mapping[str, Any]) -> tuple[float, int]:
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    torch.set_num_threads(job["threads"])
    net = lite0.torch_network(folder / "weights.npz")
    explain = GradCAM(model=net, target_layers=[net.features[-1]])
    started, count = time.perf_counter(), 0
    capture = cv2.VideoCapture(job["clip"])
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(folder / "modern.mp4"), fourcc, capture.get(cv2.CAP_PROP_FPS), size)
    while True:
        known, frame = capture.read()
        if not known:
            break
        picture = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        small = torch.from_numpy(cv2.resize(picture, (224, 224))).permute(2, 0, 1)[None]
        pixels = (255 * small * lite0.SCALE + lite0.SHIFT).contiguous(memory_format=torch.channels_last)
        heat = cv2.resize(explain(input_tensor=pixels, targets=None)[0], size)
        writer.write(cv2.cvtColor(show_cam_on_image(picture, heat, use_rgb=True), cv2.COLOR_RGB2BGR))
        count += 1
    writer.release()
    return time.perf_counter() - started, count


_BOTH = "sound, exact times, class and score, the frame beside its heat, steady heat (each frame is scaled by itself), an undistorted view"
PROGRAMS: Mapping[str, Program] = {
    "classic script": Program(("tensorflow", "matplotlib", "cv2"), classic, f"{_BOTH}, going on after an interruption"),
    "OpenCV and pytorch-grad-cam": Program(
        ("pytorch_grad_cam", "torchvision", "cv2"), modern, f"{_BOTH}, H.264, going on after an interruption"
    ),
}


def main(arguments: Sequence[str]) -> None:
    name, folder = arguments[0], Path(arguments[1])
    seconds, frames = PROGRAMS[name].run(folder, json.loads((folder / "job.json").read_text()))
    print(json.dumps({"seconds": seconds, "frames": frames}))


if __name__ == "__main__":
    main(sys.argv[1:])
