"""Writes transformers.json beside itself: outputs of models of Hugging Face in float64 on made-up weights and inputs.

    python transformers.py        (torch and transformers)

Parameter number p in the order of our names is `noise(p, …)`, scaled as `made_up` says. Vorpal's ViT has timm's names,
which join queries, keys and values.
"""

import json
import pathlib
import sys

# This file must not be taken for the package of its name.
sys.path = [p for p in sys.path if pathlib.Path(p).resolve() != pathlib.Path(__file__).resolve().parent]

import numpy as np
import torch
import transformers as hf


def noise(p, n):
    """n numbers from -1 to 1."""
    word = np.uint64(0xFFFFFFFF)
    x = (np.arange(n, dtype=np.uint64) + np.uint64(p * 1000003)) * np.uint64(2654435761) & word
    x ^= x >> np.uint64(15)
    x = x * np.uint64(2246822519) & word
    x ^= x >> np.uint64(13)
    return x.astype(np.float64) / 2.0**31 - 1.0


def noisy(p, *shape):
    return torch.tensor(noise(p, int(np.prod(shape))).astype(np.float32)).reshape(shape).double()


def classes(p, below, *shape):
    values = ((noise(p, int(np.prod(shape))).astype(np.float32) + np.float32(1)) / np.float32(2) * np.float32(below)).astype(np.int64)
    return torch.tensor(np.minimum(values, below - 1)).reshape(shape)


def made_up(shapes):
    """Tensors by name, of the shapes by name."""
    out = {}
    for p, name in enumerate(sorted(shapes)):
        shape = tuple(shapes[name])
        values = noise(p, int(np.prod(shape))).astype(np.float32).astype(np.float64)
        if len(shape) > 1:
            values = values * np.sqrt(3.0 / np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = 1.0 + 0.2 * values
        else:
            values = 0.1 * values
        out[name] = torch.tensor(values.astype(np.float32)).reshape(shape).double()
    return out


def filled(model, leave_out=()):
    model = model.double().eval()
    shapes = {n: p.shape for n, p in model.named_parameters() if n not in leave_out}
    missing, unexpected = model.load_state_dict(made_up(shapes), strict=False)
    assert not unexpected, unexpected
    return model


def vit(options, layers):
    model = hf.ViTForImageClassification(options).double().eval()
    state = model.state_dict()
    width = options.hidden_size
    ours = {"cls_token": (1, 1, width), "pos_embed": state["vit.embeddings.position_embeddings"].shape}
    theirs = {"cls_token": "vit.embeddings.cls_token", "pos_embed": "vit.embeddings.position_embeddings"}
    pairs = [("patch_embed.proj", "vit.embeddings.patch_embeddings.projection"), ("norm", "vit.layernorm"), ("head", "classifier")]
    names = list(state)
    find = lambda k, *ends: next(n[: -len(".weight")] for n in names if f".{k}." in n and any(n.endswith(e + ".weight") for e in ends))
    for k in range(layers):
        pairs += [
            (f"blocks.{k}.norm1", find(k, "layernorm_before")),
            (f"blocks.{k}.norm2", find(k, "layernorm_after")),
            (f"blocks.{k}.attn.proj", find(k, "attention.output.dense", "attention.o_proj")),
            (f"blocks.{k}.mlp.fc1", find(k, "intermediate.dense", "mlp.fc1")),
            (f"blocks.{k}.mlp.fc2", next(n[: -len(".weight")] for n in names if f".{k}." in n and (n.endswith(f"{k}.output.dense.weight") or n.endswith("mlp.fc2.weight")))),
        ]
        ours[f"blocks.{k}.attn.qkv.weight"], ours[f"blocks.{k}.attn.qkv.bias"] = (3 * width, width), (3 * width,)
    for our, their in pairs:
        for end in ("weight", "bias"):
            ours[f"{our}.{end}"], theirs[f"{our}.{end}"] = state[f"{their}.{end}"].shape, f"{their}.{end}"
    values = made_up(ours)
    out = {theirs[n]: v for n, v in values.items() if n in theirs}
    for k in range(layers):
        for end in ("weight", "bias"):
            parts = values[f"blocks.{k}.attn.qkv.{end}"].chunk(3)
            for ends, part in zip((("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")), parts):
                out[find(k, *ends) + "." + end] = part
    assert set(out) == set(names), set(out) ^ set(names)
    model.load_state_dict(out)
    return model


eager = {"attn_implementation": "eager"}
tokens, target = classes(1000, 13, 2, 7), classes(1001, 13, 2, 5)
lines = {}
with torch.no_grad():
    model = filled(hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=13, n_positions=8, n_embd=12, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0, **eager)))
    lines["gpt2"] = model(tokens).logits[..., :6]

    config = hf.LlamaConfig(vocab_size=13, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=8, rms_norm_eps=1e-5, tie_word_embeddings=False, **eager)
    lines["llama"] = filled(hf.LlamaForCausalLM(config))(tokens).logits[..., :6]

    config = hf.BertConfig(vocab_size=13, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, max_position_embeddings=8, **eager)
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    model = filled(hf.BertForMaskedLM(config), leave_out=("cls.predictions.decoder.bias", "cls.predictions.decoder.weight"))
    model.cls.predictions.decoder.bias = model.cls.predictions.bias
    lines["bert"] = model(tokens, attention_mask=mask).logits[:, :4, :6]

    config = hf.ViTConfig(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=8, patch_size=4, num_channels=3, num_labels=7, layer_norm_eps=1e-6, **eager)
    lines["vit"] = vit(config, 2)(noisy(1000, 2, 3, 8, 8)).logits

    config = hf.T5Config(vocab_size=13, d_model=12, d_kv=5, d_ff=20, num_layers=2, num_heads=3, feed_forward_proj="relu", decoder_start_token_id=0, **eager)
    lines["t5"] = filled(hf.T5ForConditionalGeneration(config))(input_ids=tokens, labels=target).logits[..., :6]

    config = hf.WhisperConfig(vocab_size=13, num_mel_bins=5, d_model=12, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3, encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=6, max_target_positions=6, pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0, **eager)
    model = filled(hf.WhisperForConditionalGeneration(config), leave_out=("model.encoder.embed_positions.weight",))
    lines["whisper"] = model(input_features=noisy(1000, 2, 5, 12), decoder_input_ids=target).logits[..., :6]

    sound = noise(1000, 1600).astype(np.float32)
    extract = hf.WhisperFeatureExtractor(chunk_length=1)
    extract.n_samples, extract.nb_max_frames = 1600, 10
    lines["mel"] = torch.tensor(extract(sound, sampling_rate=16000, return_tensors="np", padding=False)["input_features"][0, ::9, :10])

short = lambda v: [float(f"{x:.7g}") for x in v.flatten().tolist()]
text = ",\n".join(f"{json.dumps(k)}: {json.dumps(short(v))}" for k, v in lines.items())
pathlib.Path(__file__).with_name("transformers.json").write_text("{\n" + text + "\n}\n")
