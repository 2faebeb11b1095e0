"""The cost interpreter: what a step of a program reads, writes, computes and keeps. No torch.

A value is what must be read from memory to have it. Counted is the best that any engine can do:
every tensor read once and written once, temporaries in registers. `norm` needs the whole tensor
before anything can follow, so it costs an earlier pass that reads what it depends on; what it does
not carry over is computed again. A buffer that a step leaves as it was is not written, and one that
only a view reads is not read. First steps, which may set buffers up, are not counted.

Per parameter are the tensors shaped like it. What has other sides (a number for each row, a square
of the rows) and what products of matrices compute depends on the sides of each parameter; a `Cost`
says it for given ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from typing import Literal

from optzoo.program.domain import run_step
from optzoo.program.expressions import SIZES, Call, Name, Num, substitute, walk
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.ops import OPS, Scope
from optzoo.program.tensors.named_sides import FULL, GIVEN, Known, Shape, shape_of

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one element, by dtype."""

NOTHING: frozenset[str] = frozenset()
Layers = tuple[frozenset[str], ...]
"""What is read in passes before this one."""


@dataclass(frozen=True)
class Storage:
    """Dtypes of what a step touches.

    `state` is the dtype of buffers, `buffers` of single ones. `beside` is what the state keeps for
    a parameter that is narrower than the arithmetic, its float32 copy or its compensation; a step
    reads and writes both.
    """

    param: str = "float32"
    grad: str = "float32"
    state: str = "float32"
    buffers: Mapping[str, str] = field(default_factory=dict)
    beside: str | None = None

    @classmethod
    def usual(cls, dtype: str) -> Storage:
        """Return what RecipeOptimizer does with parameters and gradients of one dtype."""
        wide = "float64" if dtype == "float64" else "float32"
        return cls(dtype, dtype, wide, beside=None if dtype == wide else wide)

    def size(self, tensor: str) -> int:
        """Return the bytes of one element of `param`, `grad` or a buffer."""
        dtypes = {"param": self.param, "grad": self.grad, **self.buffers}
        return BYTES[dtypes.get(tensor, self.state)]


FLOAT32 = Storage()


def storage_of(state_dtypes: Mapping[str, str]) -> Storage:
    """Return the dtypes of a step on float32 parameters whose buffers are kept like this."""
    return Storage(buffers={_label(name): dtype for name, dtype in state_dtypes.items()})


@dataclass(frozen=True)
class Cost:
    """The bill of one step, per parameter.

    `buffers` are the tensors kept between steps, `reads` the tensors each pass over memory reads,
    `writes` the tensors that the last pass writes; the kept previous gradient is `grad.prev`.
    `flops` counts elementwise operations, each once, roots and divisions like additions, and a
    norm as two; what is the same for a whole tensor is free. `others` are the buffers that are not
    shaped like the parameter, with their shapes.
    """

    buffers: tuple[str, ...]
    reads: tuple[tuple[str, ...], ...]
    writes: tuple[str, ...]
    flops: int
    others: tuple[tuple[str, Shape], ...] = ()
    products: tuple[tuple[Call, tuple[Known, ...]], ...] = ()

    def other_bytes(self, rows: int, cols: int, storage: Storage = FLOAT32) -> int:
        """Return the bytes of `others` for a parameter of these sides."""
        sizes = {"1": 1, "rows": rows, "cols": cols}
        return sum(storage.size(n) * sizes[s.rows] * sizes[s.cols] for n, s in self.others)

    def product_flops(self, rows: int, cols: int) -> int:
        """Return the operations of matrix products and decompositions for these sides.

        The most that a step may take, where some are made at some steps only. A decomposition of a
        matrix of side n counts as 9 n^3 (eigenvectors) or 4 n^3 / 3 (orthonormal).
        """
        sizes = {"1": 1, "rows": rows, "cols": cols}
        return sum(_product_flops(call, shapes, sizes) for call, shapes in self.products)

    @property
    def passes(self) -> int:
        """How often a step walks memory."""
        return len(self.reads)

    @property
    def tensors_read(self) -> int:
        """Tensors read in a step, over all passes."""
        return sum(len(names) for names in self.reads)

    @property
    def tensors_written(self) -> int:
        """Tensors written in a step."""
        return len(self.writes)

    def state_bytes(self, storage: Storage = FLOAT32) -> int:
        """Return the bytes kept per parameter between steps, the parameter itself left out."""
        beside = BYTES[storage.beside] if storage.beside else 0
        return beside + sum(storage.size(name) for name in self.buffers)

    def step_bytes(self, storage: Storage = FLOAT32) -> int:
        """Return the bytes that a step moves per parameter.

        The wide copy is what earlier passes read of a narrow parameter. The last pass reads both,
        since someone may have loaded weights into the parameter, and writes both.
        """
        *earlier, last = self.reads
        wide = BYTES[storage.beside] if storage.beside else storage.size("param")
        moved = sum(wide if n == "param" else storage.size(n) for names in earlier for n in names)
        moved += sum(storage.size(name) for name in (*last, *self.writes))
        return moved + (2 * BYTES[storage.beside] if storage.beside else 0)


def _product_flops(call: Call, shapes: Sequence[Known], sizes: Mapping[str, int]) -> int:
    sides = [(sizes[s.rows], sizes[s.cols]) for s in shapes if s is not None]
    if len(sides) < len(shapes):
        return 0
    rows, cols = sides[0]
    match call.op:
        case "matmul":
            return 2 * rows * cols * sides[1][1]
        case "polar":  # a product with the transpose, its square, a product with the matrix
            small, large = sorted((rows, cols))
            return (len(call.args) // 3 - 1) * (4 * small * small * large + 2 * small**3)
        case "block_polar":
            count = call.args[1].value if isinstance(call.args[1], Num) else Fraction(1)
            blocks = max(1, min(rows, round(count)))
            small, large = sorted((-(-rows // blocks), cols))
            steps = (len(call.args) - 4) // 3
            return blocks * steps * (4 * small * small * large + 2 * small**3)
        case "orthonormal":
            return 4 * rows**3 // 3
    return 9 * rows**3 + (2 * rows**3 if call.op == "power" else 0)


_PRODUCTS = frozenset(["matmul", "polar", "block_polar", "orthonormal", "eigenbasis", "power"])


def _products(program: Program) -> Iterator[tuple[Call, tuple[Known, ...]]]:
    """Yield the products and decompositions of a step, with the shapes of what they are made of."""
    shapes: dict[Name, Known] = dict(GIVEN)
    shapes |= {Name(state.name, "prev"): state.shape for state in program.tensor_states}
    values = {Name(hyper.name): Num(hyper.value) for hyper in program.hypers}
    for line in program.step:
        for node in walk(line.expr):
            if isinstance(node, Call) and node.op in _PRODUCTS:
                given = substitute(node, values.get)
                assert isinstance(given, Call)
                yield given, tuple(shape_of(arg, shapes) for arg in node.args)
        shapes[line.target] = shape_of(line.expr, shapes)


@dataclass(frozen=True)
class _Value:
    """What it takes to have a value in a pass: tensors read in that pass, and in each before.

    `kind` says whether it is a number, one number per tensor, or a tensor.
    """

    kind: Literal["number", "norm", "tensor"]
    now: frozenset[str] = NOTHING
    earlier: tuple[frozenset[str], ...] = ()


_NUMBER = _Value("number")
_KINDS: tuple[Literal["number", "norm", "tensor"], ...] = ("number", "norm", "tensor")


def _union(layers: Sequence[tuple[frozenset[str], ...]]) -> tuple[frozenset[str], ...]:
    return tuple(NOTHING.union(*sets) for sets in zip_longest(*layers, fillvalue=NOTHING))


class _CostDomain:
    """What values depend on; counts operations on the way."""

    def __init__(self) -> None:
        self.flops = 0

    def number(self, value: Fraction) -> _Value:
        """Return a literal, which costs nothing."""
        return _NUMBER

    def apply(self, op: str, args: Sequence[_Value]) -> _Value:
        """Return what a result depends on, and count the operation if it is one per element."""
        kind = max((arg.kind for arg in args), key=_KINDS.index)
        now = NOTHING.union(*(arg.now for arg in args))
        earlier = _union([arg.earlier for arg in args])
        if OPS[op].reduces is not None:
            self.flops += 2
            return _Value("norm", NOTHING, (*earlier, now))
        if OPS[op].scope is not Scope.ELEMENTWISE:
            return self._matrix(op, now, earlier)
        if kind == "tensor":
            self.flops += max(1, len(args) - 1)
        return _Value(kind, now, earlier)

    def _matrix(self, op: str, now: frozenset[str], earlier: Layers) -> _Value:
        """Return what an operation on whole matrices depends on: it ends a pass."""
        if op in SIZES:
            return _NUMBER
        return _Value("tensor", NOTHING, (*earlier, now))


def cost(program: Program) -> Cost:
    """Return the bill of a step of a program, specialised or not."""
    domain = _CostDomain()
    others = [state for state in program.tensor_states if state.shape != FULL]
    names = {state.name: _label(state.name) for state in program.tensor_states}
    entry = {name: _leaf(label) for name, label in names.items()}
    entry |= {state.name: _Value("norm") for state in others}
    scalars = {Name(h.name): _NUMBER for h in program.hypers}
    scalars |= {line.target: _NUMBER for line in program.scalars}
    scalars |= {Name(name): _NUMBER for name in ("t", "T", "lr0")}
    scalars |= {Name(state.name, "prev"): _NUMBER for state in program.scalar_states}
    param, kept = run_step(program, domain, scalars, _leaf(PARAM.id), _leaf(GRAD.id), entry)
    full = {name: label for name, label in names.items() if entry[name].now}
    written = {full[name]: v for name, v in kept.items() if name in full and v is not entry[name]}
    stores = [param, *written.values()]
    layers = _union([value.earlier for value in stores])
    last = NOTHING.union(*(value.now for value in stores))
    order = (PARAM.id, GRAD.id, *names.values())
    return Cost(
        buffers=tuple(full.values()),
        reads=tuple(tuple(n for n in order if n in layer) for layer in (*layers, last)),
        writes=(PARAM.id, *written),
        flops=domain.flops,
        others=tuple((_label(state.name), state.shape) for state in others),
        products=tuple(_products(program)),
    )


def _label(state: str) -> str:
    return f"{state}.prev" if state == GRAD.id else state


def _leaf(label: str) -> _Value:
    return _Value("tensor", frozenset((label,)))
