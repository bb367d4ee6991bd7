"""One peer in a process and an environment of its own, for peers.py: python benchmarks/one_peer.py NAME FOLDER

The folder holds job.json, the frames (uint8), the class to explain of each, and the weights (lite0.py). When all is prepared and what the
peer makes of the frames is saved beside the job as NAME.npz, one line of JSON is printed: versions. Then each line that comes is one call,
which is answered by a line when it is done. Whatever a peer lets one prepare once (the model, the scaled pictures in its own layout) is
prepared before that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lite0
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Array = np.ndarray[Any, Any]
WARM_CALLS = 2


class Job(NamedTuple):
    """`options` is what job.json says: how many threads there are."""

    folder: Path
    frames: Array
    classes: list[int]
    options: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        return self.folder / "weights.npz"


class Peer(NamedTuple):
    """`prepare` gives what is timed: a call that returns maps (batch, height, width), or scores (batch, classes), or neither."""

    packages: tuple[str, ...]
    prepare: Callable[[Job], Callable[[], Any]]
    gives: str
    lacks: str = ""


# ------------------------------------------------------------------------------------------------ Keras


def _keras_model() -> Any:
    from pipeline.models import build_embedded_network

    return build_embedded_network()


def tf_keras_vis(job: Job) -> Callable[[], Any]:
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    gradcam = Gradcam(_keras_model(), model_modifier=ReplaceToLinear(), clone=False)
    pixels, score = job.frames.astype(np.float32), CategoricalScore(job.classes)
    return lambda: gradcam(score, pixels, penultimate_layer="top_activation", seek_penultimate_conv_layer=False)


def tf_explain(job: Job) -> Callable[[], Any]:
    from tf_explain.core.grad_cam import GradCAM

    model, explainer, pixels = _keras_model(), GradCAM(), job.frames.astype(np.float32)
    return lambda: explainer.explain((pixels, None), model, class_index=job.classes[0], layer_name="top_activation")


def xplique(job: Job) -> Callable[[], Any]:
    import tensorflow as tf
    from xplique.attributions import GradCAM

    model = _keras_model()
    model.get_layer("predictions").activation = tf.keras.activations.linear  # its advice: explain the logits
    explainer = GradCAM(model, batch_size=len(job.frames), conv_layer="top_activation")
    pixels, wanted = job.frames.astype(np.float32), np.eye(1000, dtype=np.float32)[job.classes]
    return lambda: explainer(pixels, wanted).numpy()[..., 0]


# ------------------------------------------------------------------------------------------------ PyTorch


def _torch(job: Job) -> tuple[Any, Any]:
    """The network, and the frames as it takes them, in channels-last memory."""
    import torch

    torch.set_num_threads(job.options["threads"])
    pixels = torch.from_numpy(job.frames).permute(0, 3, 1, 2).float() * lite0.SCALE + lite0.SHIFT
    return lite0.torch_network(job.weights), pixels.contiguous(memory_format=torch.channels_last)


def torch_forward(job: Job) -> Callable[[], Any]:
    import torch

    net, pixels = _torch(job)

    def call() -> Any:
        with torch.inference_mode():
            return net(pixels).softmax(1).numpy()

    return call


def pytorch_grad_cam(job: Job) -> Callable[[], Any]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, pixels = _torch(job)
    explain = GradCAM(model=net, target_layers=[net.features[-1]])
    targets = [ClassifierOutputTarget(index) for index in job.classes]
    return lambda: explain(input_tensor=pixels, targets=targets)


def torchcam_gradcam(job: Job) -> Callable[[], Any]:
    from torchcam.methods import GradCAM

    net, pixels = _torch(job)
    extractor = GradCAM(net, target_layer=net.features[-1])
    return lambda: extractor(job.classes, net(pixels))[0].numpy()


def torchcam_cam(job: Job) -> Callable[[], Any]:
    import torch
    from torchcam.methods import CAM

    net, pixels = _torch(job)
    extractor = CAM(net, target_layer=net.features[-1], fc_layer=net.classifier)

    def call() -> Any:
        with torch.inference_mode():
            net(pixels)
            return extractor(job.classes)[0].numpy()

    return call


def captum(job: Job) -> Callable[[], Any]:
    import torch
    from captum.attr import LayerGradCam

    net, pixels = _torch(job)
    explain, classes = LayerGradCam(net, net.features[-1]), torch.tensor(job.classes)
    return lambda: explain.attribute(pixels, target=classes, relu_attributions=True).detach().numpy()[:, 0]


# ------------------------------------------------------------------------------------------------ forward alone


SMALL = 4


def _onnx(job: Job, batch: int) -> bytes:
    return lite0.onnx_model(job.weights, batch, job.frames.shape[1])


def _small(job: Job) -> list[Array]:
    return [job.frames[begin : begin + SMALL] for begin in range(0, len(job.frames), SMALL)]


def onnxruntime(job: Job) -> Callable[[], Any]:
    run = _onnxruntime(job, len(job.frames))
    return lambda: run(job.frames)


def onnxruntime_small(job: Job) -> Callable[[], Any]:
    """The same pictures as small batches, one after another, which suit its caches too."""
    run, batches = _onnxruntime(job, SMALL), _small(job)
    return lambda: np.concatenate([run(batch) for batch in batches])


def _onnxruntime(job: Job, batch: int) -> Callable[[Array], Array]:
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = job.options["threads"]
    session = runtime.InferenceSession(_onnx(job, batch), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def openvino(job: Job) -> Callable[[], Any]:
    """One batch at a time over all cores; float32 where its default on some processors is bfloat16."""
    import openvino as runtime

    core = runtime.Core()
    wanted = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(_onnx(job, len(job.frames))), "CPU", wanted).create_infer_request()
    return lambda: request.infer([job.frames])[0].copy()


def openvino_streams(job: Job) -> Callable[[], Any]:
    """Several small batches in flight, as its documentation has it for throughput."""
    import openvino as runtime

    core, batches = runtime.Core(), _small(job)
    wanted = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    queue = runtime.AsyncInferQueue(core.compile_model(core.read_model(_onnx(job, SMALL)), "CPU", wanted))
    found: dict[int, Array] = {}
    queue.set_callback(lambda request, number: found.update({number: request.get_output_tensor(0).data.copy()}))

    def call() -> Any:
        for number, batch in enumerate(batches):
            queue.start_async([batch], number)
        queue.wait_all()
        return np.concatenate([found[number] for number in range(len(batches))])

    return call


NO_VIDEO = "no video"
MAPS: Mapping[str, Peer] = {
    "tf-keras-vis": Peer(("tf_keras_vis", "tensorflow"), tf_keras_vis, "maps", f"class to be named; {NO_VIDEO}"),
    "tf-explain": Peer(
        ("tf_explain", "tensorflow"), tf_explain, "", f"one class for all pictures; a grid of overlays, no maps; {NO_VIDEO}"
    ),
    "xplique": Peer(("xplique", "tensorflow"), xplique, "maps", f"class to be named; {NO_VIDEO}"),
    "pytorch-grad-cam": Peer(("pytorch_grad_cam", "torchvision"), pytorch_grad_cam, "maps", NO_VIDEO),
    "torch-cam GradCAM": Peer(("torchcam",), torchcam_gradcam, "maps", f"class to be named; {NO_VIDEO}"),
    "torch-cam CAM": Peer(("torchcam",), torchcam_cam, "maps", f"needs a linear layer behind pooling; class to be named; {NO_VIDEO}"),
    "captum LayerGradCam": Peer(("captum",), captum, "maps", f"class to be named; {NO_VIDEO}"),
    "PyTorch, scores alone": Peer(("torch",), torch_forward, "scores", "no maps"),
}
FORWARD: Mapping[str, Peer] = {
    "onnxruntime": Peer(("onnxruntime", "onnx"), onnxruntime, "scores"),
    "onnxruntime, fours": Peer(("onnxruntime", "onnx"), onnxruntime_small, "scores"),
    "openvino": Peer(("openvino", "onnx"), openvino, "scores"),
    "openvino, fours in streams": Peer(("openvino", "onnx"), openvino_streams, "scores"),
}
WHOLE = {"onnxruntime", "openvino"}  # get the pictures as one batch
DISTRIBUTIONS = {"tf_keras_vis": "tf-keras-vis", "tf_explain": "tf-explain", "pytorch_grad_cam": "grad-cam"}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    peer = {**MAPS, **FORWARD}[name]
    options = json.loads((folder / "job.json").read_text())
    with np.load(folder / "frames.npz") as given:
        job = Job(folder, given["frames"], [int(index) for index in given["classes"]], options)
    call = peer.prepare(job)
    made = call()
    if peer.gives:
        np.savez(folder / f"{name}.npz", **{peer.gives: np.asarray(made)})
    for _ in range(WARM_CALLS):
        call()
    versions = {package: version(DISTRIBUTIONS.get(package, package)) for package in peer.packages}
    print(json.dumps({"versions": versions}), flush=True)
    for _ in sys.stdin:
        call()
        print("done", flush=True)


if __name__ == "__main__":
    main()
