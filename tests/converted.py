"""DeepFashion2's layout as its converter writes it in COCO: 294 keypoints for every object."""

import json
from itertools import accumulate

import numpy as np
from PIL import Image

from fewshot_landmarks.data.categories import CATEGORIES

CONVERTED = """short_sleeved_shirt long_sleeved_shirt short_sleeved_outwear long_sleeved_outwear vest
sling shorts trousers skirt short_sleeved_dress long_sleeved_dress vest_dress sling_dress""".split()
STARTS = [0, *accumulate(kind.landmarks for kind in CATEGORIES)]
NUMBERS = [str(i) for i in range(1, 295)]
INITIALS = "sss lss sso lso vest sling shorts trousers skirt ssd lsd vd sd".split()
MMPOSE = [f"{initial}_kpt{i + 1}" for initial, kind in zip(INITIALS, CATEGORIES)
          for i in range(kind.landmarks)]  # fmt: skip


def wide(category, landmarks):
    """An object's x, y, v among the 294 of all categories."""
    marks = np.zeros((294, 3))
    marks[STARTS[category - 1] : STARTS[category]] = np.reshape(landmarks, (-1, 3))
    return marks.ravel().tolist()


def converted(split, out, names=CONVERTED, keypoints=NUMBERS):
    """A split's folder as COCO, as DeepFashion2's converter writes it."""
    images, annotations = [], []
    for path in sorted((split / "annos").iterdir()):
        number = int(path.stem)
        width, height = Image.open(split / "image" / f"{path.stem}.jpg").size
        images.append({"id": number, "file_name": f"{path.stem}.jpg", "width": width})
        images[-1]["height"] = height
        said = json.loads(path.read_text())
        for key in sorted(said):
            if not key.startswith("item"):
                continue
            one = said[key]
            x1, y1, x2, y2 = one["bounding_box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one["category_id"],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "keypoints": wide(one["category_id"], one["landmarks"]),
                    "num_keypoints": sum(v > 0 for v in one["landmarks"][2::3]),
                    "segmentation": one["segmentation"],
                }
            )
    kinds = [{"id": i, "name": name, "supercategory": "clothes", "skeleton": []}
             for i, name in enumerate(names, 1)]  # fmt: skip
    for kind in kinds if keypoints else []:
        kind["keypoints"] = keypoints
    document = {"images": images, "annotations": annotations, "categories": kinds}
    out.write_text(json.dumps(document))
    return out
