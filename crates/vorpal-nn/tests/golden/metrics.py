"""Writes metrics.json beside itself: numbers of scikit-learn, sacrebleu and rouge_score.

    python metrics.py
"""

import json
import pathlib

import numpy as np
import sacrebleu
from rouge_score import rouge_scorer
from sklearn import metrics as sk

rng = np.random.default_rng(5)
N, C = 90, 4
logits = np.round(rng.normal(size=(N, C)) * 1.5, 3)
target = rng.integers(0, C - 1, N)
logits[np.arange(N), target] += 1.0
logits = np.round(logits, 3)
# A class that never comes up among the targets, and rows that tie.
logits[10:20] = logits[0:10]
prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
pred = logits.argmax(1)
labels = list(range(C))
score = np.round(rng.random(N), 1)
binary = (rng.random(N) < 0.2 + 0.6 * score).astype(int)

out = {
    "logits": logits.flatten().tolist(), "target": target.tolist(),
    "score": score.tolist(), "binary": binary.tolist(),
    "accuracy": sk.accuracy_score(target, pred),
    "top2": sk.top_k_accuracy_score(target, logits, k=2, labels=labels),
    "confusion": sk.confusion_matrix(target, pred, labels=labels).flatten().tolist(),
    "binary_accuracy": sk.accuracy_score(binary, score > 0.5),
    "auroc": sk.roc_auc_score(binary, score),
    "average_precision": sk.average_precision_score(binary, score),
    "auroc_classes": float(np.mean([sk.roc_auc_score(target == c, logits[:, c]) for c in range(C - 1)])),
    "perplexity": float(np.exp(sk.log_loss(target, prob, labels=labels))),
}
for average in ["macro", "weighted", "micro"]:
    args = dict(average=average, zero_division=0)
    out[f"precision_{average}"] = sk.precision_score(target, pred, **args)
    out[f"recall_{average}"] = sk.recall_score(target, pred, **args)
    out[f"f1_{average}"] = sk.f1_score(target, pred, **args)
    out[f"f2_{average}"] = sk.fbeta_score(target, pred, beta=2, **args)
    out[f"iou_{average}"] = sk.jaccard_score(target, pred, **args)
out["recall_class_1"] = sk.recall_score(target, pred, labels=[1], average="macro")

conf, right, bins, ece = prob.max(1), pred == target, 15, 0.0
edges = np.linspace(0, 1, bins + 1)
for lo, hi in zip(edges[:-1], edges[1:]):
    inside = (conf >= lo) & (conf < hi)
    if inside.any():
        ece += inside.mean() * abs(conf[inside].mean() - right[inside].mean())
out["ece"] = float(ece)

# A large mean, in which naive sums of squares would drown.
wanted = np.round(rng.normal(size=60) + 300, 3)
found = np.round(wanted + 0.5 * rng.normal(size=60) + 0.2, 3)
out |= {
    "wanted": wanted.tolist(), "found": found.tolist(),
    "mae": sk.mean_absolute_error(wanted, found),
    "mse": sk.mean_squared_error(wanted, found),
    "rmse": sk.root_mean_squared_error(wanted, found),
    "mape": sk.mean_absolute_percentage_error(wanted, found),
    "r2": sk.r2_score(wanted, found),
    "explained_variance": sk.explained_variance_score(wanted, found),
}

texts = ["the cat sat on the red mat today", "a dog barked at the mailman", "he reads a long book by the sea"]
references = [
    ["the cat sat on the mat today", "a dog barks at a mailman", "he reads a long book at the sea side"],
    ["today the cat sat on a mat", "the dog barked at the postman loudly", "he read the book by the sea"],
]
bleu = lambda t, r: sacrebleu.corpus_bleu(t, r, tokenize="none", force=True).score
rouge = rouge_scorer.RougeScorer(["rougeL"])
out |= {
    "texts": texts, "references": references,
    "bleu": bleu(texts, references),
    "bleu_smoothed": bleu(["the dog was here at noon"], [["at the dog house it was noon"]]),
    "rouge_l": [rouge.score(r, t)["rougeL"].fmeasure for t, r in zip(texts, references[0])],
}
text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items())
pathlib.Path(__file__).with_name("metrics.json").write_text("{\n" + text + "\n}\n")
