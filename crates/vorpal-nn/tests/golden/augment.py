"""A few images through `grid_sample` by PyTorch: run beside tests/augment.rs."""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(3)
x = torch.rand(2, 3, 4, 5).mul(1000).round() / 1000
# Matrices over pixels counted from the middle; grid_sample counts from -1 to 1 over the whole image.
m = torch.tensor([[[0.8, 0.3, 0.5], [-0.2, 1.1, -0.7]], [[1.3, -0.4, -1.25], [0.6, 0.9, 0.25]]])
h, w = x.shape[2:]
theta = m.clone()
theta[:, 0, 1] *= h / w
theta[:, 1, 0] *= w / h
theta[:, 0, 2] *= 2 / w
theta[:, 1, 2] *= 2 / h
grid = F.affine_grid(theta, list(x.shape), align_corners=False)
warped = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

flat = lambda t: [round(v, 6) for v in t.flatten().tolist()]
out = {"x": flat(x), "matrices": flat(m), "warped": flat(warped)}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")
