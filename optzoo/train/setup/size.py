"""Sizes of a run that follow from its setup: parameters, FLOPs, bytes. Plain arithmetic.

    parameters   matrices 4 D^2 + 2 D F a block; norms; V D for the embedding and for the head
    FLOPs/token  6 (matrices + head) + 12 L D T      forward and backward; attention counted without
                                                     its causal half; embedding, norms, optimizer: 0
    bytes        float32 weights, gradients and optimizer state; what a micro-batch leaves for the
                 backward pass (`activation_bytes`); the logits that exist at a time

D width, L layers, F hidden width, T sequence length, V vocabulary rows, N tokens of a micro-batch.
Bytes are an estimate of the eager model: torch.compile keeps less, allocators waste some.
"""

from __future__ import annotations

from dataclasses import dataclass

from optzoo.train.setup.schema import Setup

FLOAT32 = 4
LOGITS_LIMIT = 1 << 26
"""Logits in memory at a time: 256 MiB in float32. A larger loss is computed in slices."""
LOGITS_BYTES = 12  # of a logit while the loss is computed: itself, its float32, its gradient


@dataclass(frozen=True)
class Parameters:
    """How many parameters of each kind."""

    matrices: int
    norms: int
    embedding: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.matrices + self.norms + self.embedding + self.head


def count_parameters(setup: Setup, vocabulary: int) -> Parameters:
    """Return the parameters of a setup's model."""
    model = setup.model
    rows = model.vocabulary_rows(vocabulary)
    norms = (4 if model.qk_norm else 2) * model.layers + 1
    return Parameters(
        matrices=model.layers * (4 * model.width**2 + 2 * model.width * model.hidden),
        norms=norms * model.width,
        embedding=rows * model.width,
        head=rows * model.width,
    )


def flops_per_token(setup: Setup, vocabulary: int) -> float:
    """Return the floating-point operations that training on one token takes."""
    parameters, model = count_parameters(setup, vocabulary), setup.model
    attention = 12 * model.layers * model.width * setup.batch.sequence_length
    return float(6 * (parameters.matrices + parameters.head) + attention)


def activation_bytes(setup: Setup) -> int:
    """Return what one micro-batch keeps for the backward pass.

    A block keeps 40 D + 8 F bytes a token in float32 and 24 D + 4 F under bfloat16 autocast (its
    norms and the residual stream stay float32), counted on this model; with activation
    checkpointing the 4 D of its input, and all of one block at a time.
    """
    model, batch = setup.model, setup.batch
    tokens = (batch.micro_sequences or batch.sequences) * batch.sequence_length
    narrow = setup.execution.precision == "bfloat16"
    block = 24 * model.width + 4 * model.hidden if narrow else 40 * model.width + 8 * model.hidden
    if setup.execution.activation_checkpointing:
        return tokens * (model.layers * FLOAT32 * model.width + block)
    return tokens * model.layers * block


def memory_bytes(setup: Setup, vocabulary: int, state_bytes: int) -> dict[str, int]:
    """Return bytes by what they are for, on one device that holds the whole model.

    `state_bytes` is what the optimizer keeps.
    """
    parameters = count_parameters(setup, vocabulary)
    total, batch = parameters.total, setup.batch
    tokens = (batch.micro_sequences or batch.sequences) * batch.sequence_length
    logits = tokens * setup.model.vocabulary_rows(vocabulary)
    loss = LOGITS_BYTES * min(logits, LOGITS_LIMIT)
    if logits > LOGITS_LIMIT:  # the gradients of the head and of its input are made at once
        loss += FLOAT32 * (parameters.head + tokens * setup.model.width)
    narrow = setup.execution.precision == "bfloat16"
    return {
        "weights": FLOAT32 * total,
        "gradients": FLOAT32 * total,
        "optimizer_state": state_bytes,
        "bfloat16_copies": 2 * (parameters.matrices + parameters.head) if narrow else 0,
        "activations": activation_bytes(setup),
        "loss": loss,
    }
