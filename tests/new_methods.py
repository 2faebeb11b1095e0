"""Ten recipes that are no special case of a shipped one."""

from __future__ import annotations

HEAD = """
name: {name}
version: 1
summary: {name}
reference: none
hyperparameters:
  lr: {{default: 1e-3, in: "[0, inf)", doc: learning rate}}
  beta1: {{default: 0.9, in: "[0, 1)", doc: a decay}}
  beta2: {{default: 0.98, in: "[0, 1)", doc: another}}
  eps: {{default: 1e-7, in: "(0, inf)", doc: a small number}}
"""
M = "m: {input: grad, decay: beta1, gain: 1 - beta1}"
V = "v: {input: square(grad), decay: beta2, gain: 1 - beta2}"
RMS = "preconditioner: {rms: {of: grad, decay: beta2, eps: eps}}\norder: momentum_first\n"

BODIES = {
    "fourth_root": f"buffers:\n  {M}\n  {V}\nupdate: m/(sqrt(sqrt(v)) + eps)",
    "two_clocks": f"buffers:\n  {M}\n  {V}\n"
    "  w: {input: square(grad), decay: beta1, gain: 1 - beta1}\n"
    "update: m/(sqrt(max(v, w)) + eps)",
    "momentum_of_signs": "signals: {s: sign(grad - 0.5*grad.prev)}\n"
    "buffers:\n  m: {input: s, decay: beta1, gain: 1 - beta1}\n"
    "  w: {input: m, decay: beta2, gain: 1 - beta2}\nupdate: m + eps*w",
    "differences_divide": f"signals: {{d: grad - beta1*grad.prev}}\nbuffers:\n  {M}\n"
    "  v: {input: square(d), decay: beta2, gain: 1 - beta2}\nupdate: m/(sqrt(v) + eps)",
    "soft_lion": f"buffers:\n  {M}\n  w: {{input: grad, decay: beta2, gain: 1 - beta2}}\n"
    "update: (m + w)/(abs(m + w) + eps)",
    "two_signs": f"buffers:\n  {M}\n  w: {{input: grad, decay: beta2, gain: 1 - beta2}}\n"
    "update: sign(m) + 0.5*sign(w)",
    "clipped_momentum": f"scalars: {{top: 0.1 + eps*beta2}}\nbuffers:\n  {M}\n"
    "update: {mix: {m: 1, grad: 0.3}, clip_norm: top}",
    "three_momenta": f"buffers:\n  {M}\n  w: {{input: grad, decay: 0.99, gain: 0.01}}\n"
    f"  x: {{input: grad, decay: 0.5, gain: 0.5}}\n{RMS}update: m + 3*w - 0.4*x",
    "squared_momentum": f"buffers:\n  {M}\n  {V}\nupdate: m*abs(m)/(v + eps)",
    "shrinking_adam": f"scalars: {{k: 1/(1 - beta1**t)}}\nbuffers:\n  {M}\n  {V}\n"
    "update: k*m/(sqrt(v/(1 - beta2**t)) + eps) + 0.01*sign(param)",
}

NEW = {name: HEAD.format(name=name) + body + "\n" for name, body in BODIES.items()}
