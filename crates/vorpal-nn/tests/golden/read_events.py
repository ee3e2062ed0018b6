"""Reads event files back with TensorBoard's own reader and prints what is in them.

    python read_events.py FOLDER
"""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"images": 0, "histograms": 0, "scalars": 0})
events.Reload()
tags = events.Tags()
for tag in tags["scalars"]:
    print(tag, [(e.step, round(e.value, 6)) for e in events.Scalars(tag)])
for tag in tags["histograms"]:
    print(tag, [(e.step, e.histogram_value.num, e.histogram_value.min, e.histogram_value.max) for e in events.Histograms(tag)])
for tag in tags["images"]:
    print(tag, [(e.step, e.width, e.height, e.encoded_image_string[:4]) for e in events.Images(tag)])
for tag in tags["tensors"]:
    print(tag, [e.tensor_proto.string_val for e in events.Tensors(tag)])
