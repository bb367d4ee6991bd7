"""Score-CAM: masked pictures are put through the network, and channels are weighted by what it says of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from pipeline.cam.sliding_window_scores import score_windows
from pipeline.models import Network

SCORECAM_CHANNELS = 32  # masked pictures in one forward pass


def best_logits(network: Network, x: tf.Tensor, targets: Sequence[list[int]] | None) -> tf.Tensor:
    """The highest logit of any window, of each class (n, classes) or of each group (n, t)."""
    logits = score_windows(network, network.run_body(x), x).logits
    if targets is not None:
        logits = tf.stack([tf.reduce_logsumexp(tf.gather(logits, group, axis=2), 2) for group in targets], axis=2)
    return tf.reduce_max(logits, 1)


def scorecam(logits_of: Callable[[tf.Tensor], tf.Tensor], pixels: tf.Tensor, activations: tf.Tensor) -> tf.Tensor:
    """Score-CAM, arXiv 1910.01279, eq. 3 and 4: ReLU sum_k s_k A_k, s the softmax over channels of f(X * mask_k).

    logits_of maps pixels (n, H, W, 3) to logits (n, t), of as many classes or groups as maps are wanted of; pixels (batch, H, W, 3) in
    [0, 255], activations (batch, h, w, k); returns (batch, h, w, t). A mask is its channel enlarged to the picture and stretched to [0, 1];
    one that is the same everywhere masks all. The paper subtracts f(baseline), which is the same for every channel and drops out of the
    softmax. It takes k forward passes for a picture, however many maps are wanted.
    """
    channels = activations.shape[3]
    padding = -channels % SCORECAM_CHANNELS

    def one(item: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        picture, a = item
        groups = tf.reshape(
            tf.transpose(tf.pad(a, ((0, 0), (0, 0), (0, padding))), (2, 0, 1)), (-1, SCORECAM_CHANNELS, *tf.unstack(tf.shape(a)[:2]))
        )
        logits = tf.map_fn(lambda group: _count_passes(logits_of(_mask(picture, group))), groups, fn_output_signature=tf.float32)
        weights = tf.nn.softmax(tf.reshape(logits, (-1, tf.shape(logits)[2]))[:channels], axis=0)  # (k, t)
        return tf.nn.relu(tf.einsum("hwk,kt->hwt", a, weights))

    return tf.map_fn(one, (pixels, activations), fn_output_signature=tf.float32)


@functools.cache
def scorecam_pass_counter() -> tf.Variable:
    """How many masked pictures Score-CAM has put through networks in this process, int64 (): for whoever shows how far it is."""
    with tf.init_scope(), tf.device("CPU"):
        return tf.Variable(0, trainable=False, dtype=tf.int64)


def _count_passes(logits: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([logits]):
        scorecam_pass_counter().assign_add(SCORECAM_CHANNELS)
    return logits


def _mask(picture: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
    """The picture under each channel (n, h, w), enlarged and stretched to [0, 1]: (n, H, W, 3)."""
    masks = tf.image.resize(channels[..., None], tf.shape(picture)[:2])
    low, high = (reduce(masks, axis=(1, 2), keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    return picture[None] * tf.math.divide_no_nan(masks - low, high - low)
