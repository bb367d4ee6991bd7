#!/bin/sh
# Teach a network three drawn shapes, see where it errs (a cross lies among the circles), and look at what it looks at in pictures and in a
# video. It takes about a minute on two cores; the folder is the first argument, `shapes` without one.
set -eu
folder=${1:-shapes}
${PYTHON:-python3} "$(dirname "$0")/shapes.py" "$folder"
visualize train "$folder/labelled" --output "$folder/shapes.keras"
visualize analyze "$folder/shapes.keras" "$folder/labelled" --output "$folder/analysis"
visualize image "$folder/unseen" --model "$folder/shapes.keras" --output "$folder/seen/"
visualize video "$folder/frames" --model "$folder/shapes.keras" --output "$folder/frames.mp4"
