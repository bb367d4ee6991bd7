"""The map of one photograph from Python: what the network sees, and the place in the picture where it looks most.

python examples/one_picture.py [PICTURE]      (a cat from scikit-image's photographs when none is given)
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.cam import make_explainer
from pipeline.explain import read_photograph
from pipeline.media import image_to_frame, images, resize_for_network
from pipeline.models import frame_geometry, load_classifier, zoo
from pipeline.options import ModelChoice
from pipeline.results import top_predictions

picture = images.read_image(Path(sys.argv[1])) if len(sys.argv) > 1 else Image.fromarray(read_photograph("chelsea.png"))
classifier = load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL))
geometry = frame_geometry(
    picture.width,
    picture.height,
    fit="whole",
    input_px=classifier.input_px,
    short_side_px=classifier.short_side_px,
    stride=classifier.stride,
)

explain = make_explainer(classifier.networks[0])
explanation = explain(resize_for_network(image_to_frame(picture), geometry)[None])

for prediction in top_predictions(explanation.scores.numpy()[0], classifier.classes, 3):
    print(f"{prediction.score:6.1%}  {prediction.name.label}")

heat = explanation.maps.numpy()[0, 0]  # (h, w), in the logit's units
row, column = np.unravel_index(heat.argmax(), heat.shape)
x, y = (column + 0.5) / heat.shape[1] * picture.width, (row + 0.5) / heat.shape[0] * picture.height
print(f"hottest at x {x:.0f}, y {y:.0f} of {picture.width} x {picture.height} (map {heat.shape[0]} x {heat.shape[1]})")
