"""A step as Triton, for GPUs: one launch over chunks of all parameters, as the C is one loop.

Nothing is computed here, and neither torch nor triton is imported. The text is a Python module of
functions marked `triton.jit`: `pass_K` for every pass that ends in norms, whose blocks' sums of
squares go to `partial`, and `step`. Block j is the elements `start[j]` to `start[j] + length[j]` of
row `owner[j]`; a row of `slots` is the addresses of the parameter, the gradient and the buffers.
Parameters and buffers may be stored in
bfloat16, as in C.
Literals travel with the coefficients, since Triton would round them to float32 first.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.engines.render.dialect import (
    COMPARED,
    INFIX,
    SUM,
    Dialect,
    Identifiers,
    Row,
    heading,
    narrow_slots,
    random_words,
    spell,
    word_of,
)
from optzoo.program.expressions import Expr, Name, Num, names_in
from optzoo.program.ir import GRAD, PARAM, Line
from optzoo.program.planning import Plan

_OWN = "tl triton step owner start length slots coefficients numbers partial BLOCK j row lane at "
_OWN += "inside sum squared sign_of ratio_of keys drawn wide_of narrowed "
_OWN += "half_a_unit upper nearest kept shown_at shown"
_RESERVED = frozenset([*_OWN.split(), *keyword.kwlist])
_HELPERS = """\
@triton.jit
def squared(x):
    return x * x


@triton.jit
def sign_of(x):
    return (x > 0).to(tl.{dtype}) - (x < 0).to(tl.{dtype})


@triton.jit
def ratio_of(a, b):
    return tl.where(b == 0, 0.0, a / tl.where(b == 0, 1.0, b)).to(tl.{dtype})


"""
_BFLOAT16 = """\
@triton.jit
def wide_of(x):
    return (x.to(tl.uint32) << 16).to(tl.float32, bitcast=True)


# What rounds to nearest, ties to even, when it is added before the lower half is cut off
@triton.jit
def half_a_unit(bits):
    return ((bits >> 16) & 1) + 0x7FFF


# The upper half of a sum; NaN stays.
@triton.jit
def upper(bits, added):
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return (tl.where(is_nan, bits | 0x400000, bits + added) >> 16).to(tl.uint16)


"""
_RANDOM = """\
# 32 random bits of element i of a stretch, by the key there: the bits that the C of the step draws
@triton.jit
def drawn(key, stretch, i):
    lower = tl.load(key).to(tl.uint32, bitcast=True)
    upper = tl.load(key + 1).to(tl.uint32, bitcast=True) + stretch.to(tl.uint32)
    x = i + lower
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) + upper
    x = (x ^ (x >> 16)) * 0x846CA68B
    x = (x ^ (x >> 15)) * 0x9E3779B1
    return x ^ (x >> 16)


# One of the two neighbours of x, by 16 random bits. Infinities and NaN stay; a finite value beyond
# the largest bfloat16 goes where rounding to nearest takes it.
@triton.jit
def narrowed(x, random):
    bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
    is_usual = (bits & 0x7FFFFFFF) < 0x7F7F0000
    return upper(bits, tl.where(is_usual, random, half_a_unit(bits)))


"""
_SHOWN = """\
@triton.jit
def nearest(x):
    bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
    return upper(bits, half_a_unit(bits))


# The wide copy of a parameter where that still is what it shows, else what was loaded into it
@triton.jit
def kept(x, shown):
    return tl.where(nearest(x) == shown, x, wide_of(shown))


"""
_SIGNATURE = "owner, start, length, slots, coefficients, numbers"


@dataclass(frozen=True)
class TritonSource:
    """A step as Triton source.

    `coefficients` are the expressions over the program's scalars, and numbers, that the argument of
    that name holds in the dtype of the arithmetic; `norms` the number of norms of each pass;
    `words` the words of random bits that a row has keys for.
    """

    text: str
    coefficients: tuple[Expr, ...]
    norms: tuple[int, ...]
    words: tuple[int, ...]


def render_triton(
    plan: Plan,
    dtype: str = "float32",
    grad_dtype: str = "float32",
    narrow: Collection[str] = (),
    *,
    shown: bool = False,
) -> TritonSource:
    """Return the step of a plan as Triton, with arithmetic in `dtype`, "float32" or "float64".

    Gradients may be stored narrower; `narrow` and `shown` are those of `render_c`.
    """
    return _TritonRenderer(plan, dtype, grad_dtype, narrow, shown).render()


class _TritonRenderer:
    def __init__(
        self, plan: Plan, dtype: str, grad_dtype: str, narrow: Collection[str], shown: bool
    ) -> None:
        self.plan, self.dtype, self.grad_dtype = plan, dtype, grad_dtype
        self.shown = shown
        self.literals: dict[Fraction, str] = {}
        is_double = dtype == "float64"
        nan = "propagate_nan=tl.PropagateNan.ALL"
        rows = {
            **INFIX,
            "square": Row("squared({})", arguments=(0,)),
            "abs": Row("tl.abs({})", arguments=(0,)),
            "sign": Row("sign_of({})", arguments=(0,)),
            "sqrt": Row("tl.sqrt({})" if is_double else "tl.sqrt_rn({})", arguments=(0,)),
            "min": Row(f"tl.minimum({{}}, {{}}, {nan})"),
            "max": Row(f"tl.maximum({{}}, {{}}, {nan})"),
            "exp": Row("tl.exp({})", arguments=(0,)),
            "log": Row("tl.log({})", arguments=(0,)),
            "where": Row("tl.where({} != 0, {}, {})", arguments=(SUM, 0, 0)),
            "ratio": Row("ratio_of({}, {})"),
            "positive": Row(f"({{}} > 0).to(tl.{dtype})", arguments=(SUM,)),
        }
        for op, sign in COMPARED.items():
            rows[op] = Row(f"({{}} {sign} {{}}).to(tl.{dtype})", arguments=(SUM, SUM))
        if not is_double:  # `/` is off by two units there
            rows["div"] = Row("tl.div_rn({}, {})")
        self.dialect = Dialect(rows, self.literal, _RESERVED)
        self.identifiers = Identifiers(self.dialect)
        self.spelling = spell(plan, self.identifiers)
        self.names = self.spelling.all
        self.places = {n: self.identifiers.fresh(f"{s}_at") for n, s in self.spelling.olds.items()}
        self.narrow = narrow_slots(plan, narrow)
        self.words = {
            word: self.identifiers.fresh(f"random{word}")
            for word in random_words(plan, self.narrow)
        }

    def literal(self, value: Fraction) -> str:
        if value not in self.literals:
            self.literals[value] = self.identifiers.fresh(f"k{len(self.literals) + 1}")
        return self.literals[value]

    def render(self) -> TritonSource:
        functions = [_HELPERS.format(dtype=self.dtype)]
        functions += [_BFLOAT16] if self.narrow or self.shown else []
        functions += [*([_RANDOM] if self.narrow else []), *([_SHOWN] if self.shown else [])]
        functions += [self.pass_(k) for k in range(len(self.plan.passes))] + [self.step()]
        first, *rest = heading(self.plan, self.spelling)
        head = [f'"""{first}', *rest, '"""', ""]
        head += ["import triton", "import triton.language as tl", "", ""]
        coefficients = [expr for _, expr in self.plan.coefficients]
        coefficients += [Num(value) for value in self.literals]
        norms = tuple(len(each.reductions) for each in self.plan.passes)
        return TritonSource(
            "\n".join([*head, *functions]), tuple(coefficients), norms, tuple(self.words)
        )

    def pass_(self, k: int) -> str:
        each = self.plan.passes[k]
        body = self.lines(each.lines)
        reads = {n for line in each.lines for n in names_in(line.expr)}
        for r, reduction in enumerate(each.reductions):
            reads |= set(names_in(reduction.argument))
            text = self.dialect.text(reduction.argument, self.names)
            sum_ = self.identifiers.fresh(f"sum{k + 1}_{r + 1}")
            body += [f"{sum_} = tl.where(inside, {text}, 0.0)"]
            body += [
                f"tl.store(partial + j * {len(each.reductions)} + {r}, tl.sum({sum_} * {sum_}))"
            ]
        return self.function(f"pass_{k}", f"{_SIGNATURE}, partial", reads, body, ())

    def step(self) -> str:
        body = self.lines(self.plan.lines)
        reads = {n for line in self.plan.lines for n in names_in(line.expr)}
        reads |= {name for name in self.plan.stores if name in self.spelling.olds}
        for k, random in enumerate(self.words.values()):
            key = f"keys + (row * {len(self.words)} + {k}) * 2"
            body.append(f"{random} = drawn({key}, tl.load(start + j) >> 32, at.to(tl.uint32))")
        for name in self.plan.stores:
            new = self.names[name]
            if name.prev in self.narrow:
                word, half = word_of(self.plan, name)
                new = f"narrowed({new}, {self.words[word]}{half})"
            body.append(f"tl.store({self.places[name.prev]}, {new}, mask=inside)")
            if name.prev == PARAM.prev and self.shown:
                body.append(f"tl.store(shown_at, nearest({new}), mask=inside)")
        written = [name.prev for name in self.plan.stores]
        signature = f"{_SIGNATURE}, keys" if self.words else _SIGNATURE
        return self.function("step", signature, reads, body, written)

    def lines(self, lines: Sequence[Line]) -> list[str]:
        rows = []
        for line in lines:
            text = self.dialect.text(line.expr, self.names)
            rows += [f"# {line}", f"{self.names[line.target]} = {text}"]
        return rows

    def function(
        self,
        name: str,
        signature: str,
        reads: set[Name],
        body: Sequence[str],
        written: Sequence[Name],
    ) -> str:
        """Return a function over one chunk; all loads precede all stores."""
        width = len(self.spelling.olds) + self.shown
        rows = ["j = tl.program_id(0)", "row = tl.load(owner + j).to(tl.int64)"]
        rows += ["lane = tl.arange(0, BLOCK)", "inside = lane < tl.load(length + j)"]
        rows.append("at = tl.load(start + j) + lane")
        for place, (old, spelt) in enumerate(self.spelling.olds.items()):
            if old not in reads and old not in written:
                continue
            kind = self.grad_dtype if old == GRAD else self.dtype
            kind = "uint16" if old in self.narrow else kind
            pointer = f"tl.load(slots + row * {width} + {place}).to(tl.pointer_type(tl.{kind}))"
            rows.append(f"{self.places[old]} = {pointer} + at")
            if old in reads:
                zero = "0" if old in self.narrow else "0.0"
                loaded = f"tl.load({self.places[old]}, mask=inside, other={zero})"
                loaded = f"wide_of({loaded})" if old in self.narrow else loaded
                cast = f".to(tl.{self.dtype})" if kind != self.dtype else ""
                rows.append(f"{spelt} = {loaded}{cast}")
        if self.shown:
            pointer = f"tl.load(slots + row * {width} + {width - 1}).to(tl.pointer_type(tl.uint16))"
            rows.append(f"shown_at = {pointer} + at")
            if PARAM.prev in reads:
                spelt = self.spelling.olds[PARAM.prev]
                rows.append("shown = tl.load(shown_at, mask=inside, other=0)")
                rows.append(f"{spelt} = kept({spelt}, shown)")
        for k, (given, spelt) in enumerate(self.spelling.coefficients.items()):
            if given in reads:
                rows.append(f"{spelt} = tl.load(coefficients + {k})")
        first = len(self.spelling.coefficients)
        text = "\n".join(body)
        for k, spelt in enumerate(self.literals.values()):
            if spelt in text:
                rows.append(f"{spelt} = tl.load(coefficients + {first + k})")
        count = len(self.spelling.numbers)
        for k, (given, spelt) in enumerate(self.spelling.numbers.items()):
            if given in reads:
                rows.append(f"{spelt} = tl.load(numbers + row * {count} + {k})")
        head = ["@triton.jit", f"def {name}({signature}, BLOCK: tl.constexpr):"]
        return "\n".join([*head, *(f"    {row}" for row in [*rows, *body]), "", ""])
