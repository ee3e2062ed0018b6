"""Two small pictures by Pillow, in two classes: run beside tests/readers.rs."""

import json
import pathlib

import numpy as np
from PIL import Image

here = pathlib.Path(__file__).parent / "pictures"
rows, columns = np.mgrid[0:16, 0:24]
smooth = np.stack([rows * 12, columns * 9, 255 - rows * 8], axis=-1).astype(np.uint8)
(here / "smooth").mkdir(parents=True, exist_ok=True)
(here / "flat" / "below").mkdir(parents=True, exist_ok=True)
Image.fromarray(smooth).save(here / "smooth" / "a.jpg", quality=95, subsampling=0)
Image.fromarray(smooth).save(here / "smooth" / "b.png", optimize=True)
Image.fromarray(np.full((4, 5), 51, np.uint8)).save(here / "flat" / "below" / "grey.PNG")
rgba = np.dstack([np.full((2, 2, 3), 102, np.uint8), np.array([[0, 255], [128, 64]], np.uint8)])
Image.fromarray(rgba, "RGBA").save(here / "flat" / "opacity.png")
Image.fromarray(smooth).quantize(4).save(here / "flat" / "palette.png")
decoded = np.asarray(Image.open(here / "smooth" / "a.jpg")).transpose(2, 0, 1).flatten().tolist()
palette = np.asarray(Image.open(here / "flat" / "palette.png").convert("RGB")).transpose(2, 0, 1).flatten().tolist()
out = {"jpeg": decoded, "palette": palette}
(here / "values.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
