"""The calibration of holdback in numpy: one core, everything within a split vectorised, tables computed once."""

import json
import math
import sys
import time

import numpy as np

TASKS, TRIALS, SPLITS, MARGIN, ALPHA = 50, 32, 2000, 0.05, 0.05
HALF = TRIALS // 2
rng = np.random.default_rng(5)
baseline = (rng.random((TASKS, TRIALS)) < rng.beta(8, 2, TASKS)[:, None]).astype(np.int64)

# Hypergeometric distribution of the candidate's passes for every total of passes, and its cumulative sums (Fisher).
pmf = np.zeros((TRIALS + 1, HALF + 1))
for s in range(TRIALS + 1):
    for x in range(max(0, s - HALF), min(HALF, s) + 1):
        pmf[s, x] = math.comb(HALF, x) * math.comb(HALF, s - x) / math.comb(TRIALS, s)
cdf = pmf.cumsum(axis=1)

nodes, weights = np.polynomial.legendre.leggauss(256)
u = 0.5 * (nodes + 1)
position, weight = 1.5 * u / (1 - u), 0.5 * weights / (u * (1 - u))


def gaffke_p(values, counts, t):
    d = values - t
    s = position / math.sqrt((counts * d * d).sum())
    sd = np.outer(s, d)
    phase = (np.arctan(sd) * counts).sum(axis=1)
    size = np.exp(-0.5 * (np.log1p(sd * sd) * counts).sum(axis=1))
    return 0.5 - (np.sin(phase) * size * weight).sum() / math.pi


def gate(before, after):
    b, c = before.sum(axis=1), after.sum(axis=1)
    total = b + c
    task_p = np.sort(cdf[total, c])
    if np.maximum.accumulate(np.minimum(task_p * np.arange(TASKS, 0, -1), 1))[0] <= ALPHA:
        return 1
    values, counts = np.unique(after - before, return_counts=True)
    values, counts = values.astype(float), counts.astype(float)
    if values[0] == -1:
        counts[0] += 1
    else:
        values, counts = np.append(-1.0, values), np.append(1.0, counts)
    if gaffke_p(values, counts, -MARGIN) <= ALPHA:
        return 0
    density = np.ones(1)
    for s in total:
        density = np.convolve(density, pmf[s])
    return 1 if density[: c.sum() + 1].sum() <= ALPHA else 2


start = time.perf_counter()
seen = [0, 0, 0]
for _ in range(SPLITS):
    shuffled = rng.permuted(baseline, axis=1)
    seen[gate(shuffled[:, :HALF], shuffled[:, HALF:])] += 1
theirs = time.perf_counter() - start
with open(sys.argv[1], encoding="utf-8") as file:
    ours = json.load(file)["mean"]["point_estimate"] / 1e9
print(f"numpy      {theirs:.3f} s  (pass {seen[0]}, regress {seen[1]}, undecided {seen[2]} of {SPLITS})")
print(f"ratio      {theirs / ours:.1f}  (holdback {ours:.4f} s)")
