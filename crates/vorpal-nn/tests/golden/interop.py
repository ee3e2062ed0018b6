"""Files as NumPy and PyTorch write them, and what they hold: run beside tests/interop.rs."""

import collections
import json
import pathlib

import numpy as np
import torch

here = pathlib.Path(__file__).parent / "interop"
here.mkdir(exist_ok=True)
rng = np.random.default_rng(7)


def npy():
    np.save(here / "plain.npy", np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5)
    np.save(here / "fortran.npy", np.asfortranarray(np.arange(24, dtype=np.int64).reshape(2, 3, 4)))
    np.save(here / "big.npy", (np.arange(4) * 1.25 - 2).astype(">f8"))
    np.save(here / "scalar.npy", np.uint8(200))
    np.save(here / "record.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
    kinds = {
        "f2": np.float16, "i1": np.int8, "i2": np.int16, "u2": np.uint16, "i4": np.int32, "u4": np.uint32,
    }
    arrays = {name: np.array([0, 1, 2, 100], dtype=dtype) for name, dtype in kinds.items()}
    arrays["i2"] = np.array([-300, 300], dtype=np.int16)
    arrays["u2"] = np.array([65535, 1], dtype=np.uint16)
    arrays["b1"] = np.array([[True, False], [False, True]])
    arrays["empty"] = np.zeros((0, 3), dtype=np.float32)
    np.savez(here / "plain.npz", **arrays)
    np.savez_compressed(here / "packed.npz", **arrays)


def pt():
    torch.manual_seed(7)
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    nested = {
        "transposed": base.t(),
        "row": base[1],
        "every_other": base[:, ::2],
        "repeated": torch.tensor([1.5, 2.5]).expand(3, 2),
        "f64": torch.tensor([0.1, -2.0], dtype=torch.float64),
        "f16": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "bf16": torch.tensor([0.5, -3.0], dtype=torch.bfloat16),
        "i64": torch.tensor([2**40, -1]),
        "i32": torch.tensor([-7], dtype=torch.int32),
        "i16": torch.tensor([-300, 300], dtype=torch.int16),
        "i8": torch.tensor([-5], dtype=torch.int8),
        "u8": torch.tensor([250], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(4.5),
        "parameter": torch.nn.Parameter(torch.tensor([1.0, 2.0])),
        "epoch": 3, "rate": 1e-3, "name": "größe", "none": None, "flags": [True, False], "pair": (1, -70000),
        "large": 2**40, "size": base.shape, "ordered": collections.OrderedDict(a=1, b={"c": [2]}), 5: "five",
    }
    torch.save(nested, here / "nested.pt")
    torch.save(nested, here / "nested4.pt", pickle_protocol=4)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2, bias=False))
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, here / "model.pt")
    torch.save(model.state_dict(), here / "state.pt")
    torch.save({"x": base[0]}, here / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"where": pathlib.PurePosixPath("/etc")}, here / "path.pt")
    torch.save(torch.nn.Linear(2, 2), here / "module.pt")
    torch.save({"z": torch.tensor([1 + 2j])}, here / "complex.pt")
    x = torch.tensor([[0.5, -1.0, 2.0]])
    (here / "model.json").write_text(json.dumps({"x": x.tolist(), "y": model(x).tolist()}) + "\n")


npy()
pt()
