"""Where the network runs, as far as a machine without a GPU can show it: TensorFlow's lists of devices are stand-ins here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.batch.executors import local_executor
from pipeline.cam.graph_compilation import default_batch_size
from pipeline.console.commands import explain
from pipeline.errors import CommandError
from pipeline.explain import job_planning
from pipeline.explain.job_planning import Job
from pipeline.media import encoders
from pipeline.models import loading
from pipeline.models.device import use_device
from pipeline.options import Options


class Devices:
    """Two GPUs, as tf.config shows them; remembers what is made visible and grows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
        self.gpus = [SimpleNamespace(name=f"GPU:{number}", capability=c) for number, c in enumerate(capabilities)]
        self.visible: list[Any] = list(self.gpus)
        self.growing: list[Any] = []
        self.threads = 0
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: self.gpus)
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda _kind: self.visible)
        monkeypatch.setattr(tf.config, "set_visible_devices", lambda chosen, _kind: setattr(self, "visible", chosen))
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: on and self.growing.append(gpu))
        monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda count: setattr(self, "threads", count))
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": gpu.capability})


def test_one_gpu_is_taken_with_memory_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for device, wanted in (("auto", 0), ("gpu", 0), ("gpu:1", 1)):
        devices = Devices(monkeypatch, (7, 5), (8, 0))
        assert use_device(device) == f"gpu:{wanted}"
        assert devices.visible == devices.growing == [devices.gpus[wanted]]


def test_the_cpu_is_taken_where_it_is_asked_for_or_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch, (8, 0))
    assert use_device("cpu") == "cpu" and devices.visible == []
    devices = Devices(monkeypatch)
    assert use_device("auto") == "cpu" and devices.visible == devices.growing == []


def test_a_gpu_gets_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    Devices(monkeypatch, (8, 0))
    assert use_device("gpu") == "gpu:0" and default_batch_size() == 32
    assert use_device("cpu") == "cpu" and default_batch_size() == 4


@pytest.mark.media
def test_only_a_picture_by_itself_has_all_cores(clip: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    one, two = job_planning.plan_images([tmp_path / "a.png", tmp_path / "b.png"], output=tmp_path / "out", options=Options())
    [video] = job_planning.plan_videos([clip("single.mp4")], output=tmp_path / "out.mp4", options=Options())
    assert isinstance(one, Job) and isinstance(two, Job) and isinstance(video, Job)
    assert [explain.at_once(jobs) for jobs in ([one], [one, two], [video])] == [1, 2, 2]


@pytest.mark.parametrize(("cores", "at_once", "threads"), [(2, 1, 2), (2, 2, 1), (1, 2, 1), (4, 2, 3)])
def test_who_brings_a_batch_is_one_of_the_threads(cores: int, at_once: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch)
    use_device("cpu", cores=cores, at_once=at_once)
    assert devices.threads == threads
    use_device("cpu", at_once=at_once)
    assert devices.threads == max(1, len(os.sched_getaffinity(0)) - at_once + 1)


@pytest.mark.parametrize(
    ("device", "said"), [("gpu:2", "sees 2 GPUs"), ("tpu", "not auto, cpu"), ("cpu:0", "not auto"), ("gpu:x", "not auto")]
)
def test_a_device_that_is_not_there_is_refused(device: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Devices(monkeypatch, (8, 0), (8, 0))
    with pytest.raises(CommandError, match=said):
        use_device(device)


@pytest.mark.parametrize(
    ("capabilities", "precision", "expected"),
    [
        ([(8, 0)], "auto", "float16"),
        ([(6, 1)], "auto", "float32"),
        ([(6, 1)], "mixed", "float16"),
        ([(8, 0)], "float32", "float32"),
        ([], "auto", "float32"),
        ([], "mixed", "bfloat16"),
    ],
)
def test_half_the_bits_by_device(
    capabilities: list[tuple[int, int]], precision: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Devices(monkeypatch, *capabilities)
    source = keras.Input((None, None, 3))
    inner = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3)])
    model = keras.Model(source, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inner(source))))
    loading.set_precision(model, precision)
    scaling, convolution = inner.layers
    assert (scaling.compute_dtype, convolution.compute_dtype, model.layers[-1].compute_dtype) == ("float32", expected, expected)
    assert convolution.kernel.dtype == "float32"


def test_a_worker_for_each_gpu_that_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, count, first in (("0,2,5", 3, "0"), ("GPU-aa,GPU-bb", 2, "GPU-aa"), ("3", 1, "3")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert local_executor.choose_worker_count() == local_executor.count_gpus() == count
        assert [local_executor._name_gpu(number) for number in range(count)] == visible.split(",") and local_executor._name_gpu(0) == first
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert local_executor.count_gpus() == 0


@pytest.mark.media
def test_a_hardware_encoder_that_does_not_work_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_has_hardware", lambda: True)  # a device that no driver answers for
    chosen = encoders.choose_encoder("h264", width_px=64, height_px=64)
    if chosen.hardware:
        pytest.skip("this machine has a hardware encoder that works")
    assert chosen.name == "libx264" and chosen.passed_over[0].startswith("h264_nvenc:")


SEEN_BY_ONEDNN = """
import numpy as np
from pipeline.cam.explainer import make_scorer
from pipeline.models.bundled_network import build_embedded_network
from pipeline.models.network import split_model
make_scorer(split_model(build_embedded_network()))(np.zeros((1, 64, 64, 3), np.uint8))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has oneDNN asked for")
@pytest.mark.parametrize(("said", "by_onednn"), [(None, 49), ("0", 0)])
@pytest.mark.slow
def test_every_convolution_is_onednns_unless_somebody_says_no(said: str | None, by_onednn: int) -> None:
    """Also where TensorFlow would not take it by itself. It has 49: 16 blocks of three, but the first of two; stem, head."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {"ONEDNN_VERBOSE": "1"} | ({} if said is None else {"TF_ENABLE_ONEDNN_OPTS": said})
    told = subprocess.run([sys.executable, "-c", SEEN_BY_ONEDNN], env=environment, capture_output=True, text=True, check=True).stdout
    assert sum(",exec,cpu,convolution," in line for line in told.splitlines()) == by_onednn
