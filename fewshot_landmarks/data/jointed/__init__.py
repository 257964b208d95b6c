"""Jointed shapes: a drawn keypoint set of things other than clothes, in COCO keypoint JSON.

    out/images/000001.jpg ...
    out/train.json    out/test.json    out/split.json    out/generator.json

Each category is a tree of named joints with limbs between them, and each joint has a mark of its
own: a disc, a ring, a claw. Left and right are the picture's, of the shape as it stands upright.
A photo holds one to three shapes before clutter. A keypoint's v is 2 where it is in view, 1 where
another shape covers it, and 0 (with x = y = 0) outside the photo; a shape does not hide its own
marks. Its bbox and area are those of the whole shape, covered parts too, cut off at the photo.
"""

from fewshot_landmarks.data.jointed.shapes import SHAPES
from fewshot_landmarks.data.jointed.writer import write_jointed

__all__ = ["SHAPES", "write_jointed"]
