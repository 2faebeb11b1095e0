"""A step as C: one loop over chunks of all parameters, every tensor read once and written once.

Nothing is computed here and torch is not imported. The text depends neither on t nor lr nor any
value of a hyperparameter, nor on shapes: those come as arguments. A norm takes one more loop over
what it is made of, whose chunks' sums of squares are added up in the same order whatever the number
of threads is.

The functions of the text, for a table of `tensors` rows:

    pass_K(chunks, owner, start, length, slots, coefficients, numbers, partial, threads)
    norms_K(chunks, owner, partial, tensors, norms)          sums -> norms
    numbers_K(tensors, norms, coefficients, numbers)         norms -> numbers per tensor
    step(chunks, owner, start, length, slots, coefficients, numbers, threads)

Chunk j is the elements `start[j]` to `start[j] + length[j]` of row `owner[j]`; a row of `slots` is
the addresses of the parameter, the gradient and the buffers, and of the parameter as it is shown
where it is kept in bfloat16 beside a wide copy.

Parameters and buffers may be stored in bfloat16. They are widened where they are read and rounded
stochastically where they are written, with random bits that are a hash of a key of the row and the
slot (`keys`, one more argument of `step` then) and the place of the element: whoever computes an
element, in whatever order, draws the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.engines.render.c_functions import NAMES, TYPES, functions
from optzoo.engines.render.dialect import (
    COMPARED,
    INFIX,
    SUM,
    Dialect,
    Identifiers,
    Row,
    Spelling,
    heading,
    narrow_slots,
    random_words,
    spell,
    word_of,
)
from optzoo.program.expressions import Expr, Name, names_in
from optzoo.program.ir import GRAD, PARAM, Line
from optzoo.program.planning import Pass, Plan

_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while asm typeof
"""
_OWN = """
    chunks owner start length slots coefficients numbers partial threads norms tensors
    row step main i j count begin end keys first shown_at
"""
_RESERVED = frozenset(f"{_KEYWORDS} {_OWN} {NAMES}".split())

_FUNCTIONS: dict[str, Row] = {
    "square": Row("squared({})", arguments=(0,)),
    "sqrt": Row("root({})", arguments=(0,)),
    "abs": Row("magnitude({})", arguments=(0,)),
    "sign": Row("sign_of({})", arguments=(0,)),
    "min": Row("smaller({}, {})"),
    "max": Row("larger({}, {})"),
    "pow": Row("power({}, {})"),
    "exp": Row("exponential({})", arguments=(0,)),
    "log": Row("logarithm({})", arguments=(0,)),
    "tanh": Row("tangent({})", arguments=(0,)),
    "atan2": Row("angle({}, {})"),
    "ratio": Row("ratio_of({}, {})"),
    "where": Row("chosen({}, {}, {})", arguments=(0, 0, 0)),
    "positive": Row("(real)({} > 0)", arguments=(SUM,)),
    **{op: Row(f"(real)({{}} {sign} {{}})", arguments=(SUM, SUM)) for op, sign in COMPARED.items()},
}


def _literal(value: Fraction) -> str:
    text = repr(float(value))
    return f"(real){text}" if value >= 0 else f"((real){text})"


TENSORS = Dialect({**INFIX, **_FUNCTIONS}, _literal, _RESERVED)
"""Elements, in the arithmetic of the step."""

NUMBERS = Dialect(
    {
        **INFIX,
        "square": Row("squared_d({})", arguments=(0,)),
        "sqrt": Row("sqrt({})", arguments=(0,)),
        "abs": Row("fabs({})", arguments=(0,)),
        "sign": Row("sign_of_d({})", arguments=(0,)),
        "min": Row("smaller_d({}, {})"),
        "max": Row("larger_d({}, {})"),
        "pow": Row("pow({}, {})"),
        "exp": Row("exp({})", arguments=(0,)),
        "log": Row("log({})", arguments=(0,)),
        "tanh": Row("tanh({})", arguments=(0,)),
        "atan2": Row("atan2({}, {})"),
        "ratio": Row("ratio_of_d({}, {})"),
        "where": Row("chosen_d({}, {}, {})", arguments=(0, 0, 0)),
        "positive": Row("(double)({} > 0)", arguments=(SUM,)),
        **{
            op: Row(f"(double)({{}} {sign} {{}})", arguments=(SUM, SUM))
            for op, sign in COMPARED.items()
        },
    },
    lambda value: f"({float(value)!r})",
    _RESERVED,
)
"""Numbers per tensor, in double."""

_CHUNK = """\
int64_t chunks, const int32_t *owner, const int64_t *start,
            const int32_t *length"""
_LOOP = "#pragma omp parallel for num_threads(threads) schedule(static)"


@dataclass(frozen=True)
class CSource:
    """A step as C source.

    `coefficients` are the expressions over the program's scalars that the argument of that name
    holds, in order; `norms` the number of norms of each pass; `numbers` how many numbers a row has;
    `words` the words of random bits that a row has keys for.
    """

    text: str
    coefficients: tuple[Expr, ...]
    norms: tuple[int, ...]
    numbers: int
    words: tuple[int, ...]


def render_c(
    plan: Plan,
    dtype: str = "float32",
    grad_dtype: str = "float32",
    narrow: Collection[str] = (),
    *,
    shown: bool = False,
) -> CSource:
    """Return the step of a plan as C, with arithmetic in `dtype` ("float32" or "float64").

    Gradients may be stored narrower, see `TYPES`; `narrow` are the buffers stored in
    bfloat16, and `param` if the parameters are. `shown`: `param` is the wide copy of parameters in
    bfloat16, which are the last slot of a row: they win where something was loaded into them, and
    hold the new ones rounded to nearest.
    """
    return _CRenderer(plan, dtype, grad_dtype, narrow, shown).render()


class _CRenderer:
    def __init__(
        self, plan: Plan, dtype: str, grad_dtype: str, narrow: Collection[str], shown: bool
    ) -> None:
        self.plan, self.dtype, self.shown = plan, dtype, shown
        self.narrow = narrow_slots(plan, narrow)
        self.kinds = {
            name: grad_dtype if name == GRAD else "bfloat16" if name in self.narrow else dtype
            for name in plan.inputs
        }
        """What the elements of a slot are stored as, by name of the dtype."""
        identifiers = self.identifiers = Identifiers(TENSORS)
        self.spelling: Spelling = spell(plan, identifiers)
        self.words = {
            word: (identifiers.fresh(f"key{word}"), identifiers.fresh(f"random{word}"))
            for word in random_words(plan, self.narrow)
        }
        """Names of a chunk's key and an element's random bits."""
        self.places = {n: identifiers.fresh(f"{s}_at") for n, s in self.spelling.olds.items()}
        self.names = self.spelling.all
        self.coefficients = list(self.spelling.coefficients)
        self.numbers = list(self.spelling.numbers)

    def render(self) -> CSource:
        first, *rest = heading(self.plan, self.spelling)
        head = [f"/* {first}", *(f"   {row}" if row else row for row in rest), "*/"]
        parts = ["\n".join(head)]
        parts += functions(
            self.dtype,
            bfloat16="bfloat16" in self.kinds.values(),
            random=bool(self.narrow),
            shown=self.shown,
        )
        for k, each in enumerate(self.plan.passes):
            parts += [self.pass_(k, each), self.norms(k, each), self.per_tensor(k, each)]
        parts.append(self.step())
        coefficients = tuple(expr for _, expr in self.plan.coefficients)
        norms = tuple(len(each.reductions) for each in self.plan.passes)
        return CSource("\n".join(parts), coefficients, norms, len(self.numbers), tuple(self.words))

    # -------------------------------------------------------------- loops

    def pass_(self, k: int, each: Pass) -> str:
        arguments = [reduction.argument for reduction in each.reductions]
        sums = [self.identifiers.fresh(f"sum{k + 1}_{r + 1}") for r in range(len(arguments))]
        body = self.lines(each.lines)
        for s, argument in zip(sums, arguments, strict=True):
            term = self.identifiers.fresh("term")
            text = TENSORS.text(argument, self.names)
            body += [f"const double {term} = (double)({text});", f"{s} += {term} * {term};"]
        reads = {n for line in each.lines for n in names_in(line.expr)}
        reads |= {n for argument in arguments for n in names_in(argument)}
        after = [f"partial[j * {len(sums)} + {r}] = {s};" for r, s in enumerate(sums)]
        head = [f"double {', '.join(f'{s} = 0' for s in sums)};"]
        pragma = f"#pragma omp simd reduction(+ : {', '.join(sums)})"
        signature = (
            f"void pass_{k}({_CHUNK}, void *const *slots,\n"
            "            const double *coefficients, const double *numbers, double *partial,\n"
            "            int threads)"
        )
        return self.loop(signature, reads, body, (), pragma, head, after)

    def step(self) -> str:
        body = self.lines(self.plan.lines)
        reads = {n for line in self.plan.lines for n in names_in(line.expr)}
        stores = self.plan.stores
        reads |= {name for name in stores if name in self.spelling.olds}
        head = []
        for k, (key, random) in enumerate(self.words.values()):
            at = f"keys[(int64_t)owner[j] * {len(self.words)} + {k}]"
            head.append(f"const uint64_t {key} = {at} + ((uint64_t)start[j] >> 32 << 32);")
            body.append(f"const uint32_t {random} = drawn({key}, first + (uint32_t)i);")
        if head:
            head.append("const uint32_t first = (uint32_t)start[j];")
        for name in stores:
            body.append(f"{self.places[name.prev]}[i] = {self.stored(name)};")
            if name.prev == PARAM.prev and self.shown:
                body.append(f"shown_at[i] = nearest({self.names[name]});")
        keys = "const uint64_t *keys, " if self.narrow else ""
        signature = (
            f"void step({_CHUNK}, void *const *slots,\n"
            f"          const double *coefficients, const double *numbers, {keys}int threads)"
        )
        written = [name.prev for name in stores]
        return self.loop(signature, reads, body, written, "#pragma omp simd", head)

    def stored(self, name: Name) -> str:
        """Return what goes into the slot of a name."""
        if name.prev not in self.narrow:
            return self.names[name]
        word, half = word_of(self.plan, name)
        random = self.words[word][1]
        return f"narrowed({self.names[name]}, {random}{half})"

    def type(self, name: Name) -> str:
        """Return the type that the elements of a slot have."""
        return "real" if self.kinds[name] == self.dtype else TYPES[self.kinds[name]]

    def loaded(self, name: Name) -> str:
        """Return element i of a slot, as a number of the arithmetic."""
        at = f"{self.places[name]}[i]"
        if name == PARAM.prev and self.shown:
            return f"kept({at}, shown_at[i])"
        if self.kinds[name] == self.dtype:
            return at
        return f"wide_of({at})" if self.kinds[name] == "bfloat16" else f"(real){at}"

    def lines(self, lines: Sequence[Line]) -> list[str]:
        rows = []
        for line in lines:
            text = TENSORS.text(line.expr, self.names)
            rows.append(f"const real {self.names[line.target]} = {text};  /* {line} */")
        return rows

    def loop(
        self,
        signature: str,
        reads: set[Name],
        body: Sequence[str],
        written: Sequence[Name],
        pragma: str,
        head: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> str:
        """Return a function that walks the chunks; all loads of an element precede its stores."""
        width = len(self.spelling.olds) + self.shown
        rows = [signature, "{", f"    {_LOOP}", "    for (int64_t j = 0; j < chunks; j++) {"]
        rows.append(f"        void *const *row = slots + (int64_t)owner[j] * {width};")
        for place, name in enumerate(self.spelling.olds):
            if name in reads or name in written:
                const = "" if name in written else "const "
                type_ = f"{const}{self.type(name)} *"
                rows.append(
                    f"        {type_}{self.places[name]} = ({type_})row[{place}] + start[j];"
                )
        if self.shown:
            const = "" if PARAM.prev in written else "const "
            type_ = f"{const}uint16_t *"
            rows.append(f"        {type_}shown_at = ({type_})row[{width - 1}] + start[j];")
        rows += self.scalars(reads)
        rows += [f"        {row}" for row in head]
        rows += [
            "        const int32_t count = length[j];",
            "        for (int32_t begin = 0; begin < count; begin += BLOCK) {",
            "            const int32_t end = count - begin < BLOCK ? count : begin + BLOCK;",
        ]
        for name in self.spelling.olds:
            if name in reads or name in written:
                size = f"sizeof({self.type(name)})"
                rows.append(f"            fetch_ahead({self.places[name]} + begin, {size});")
        rows += [f"            {pragma}", "            for (int32_t i = begin; i < end; i++) {"]
        for name, spelt in self.spelling.olds.items():
            if name in reads:
                rows.append(f"                const real {spelt} = {self.loaded(name)};")
        rows += [f"                {row}" for row in body]
        rows += [
            "            }",
            "        }",
            *(f"        {row}" for row in after),
            "    }",
            "}",
            "",
        ]
        return "\n".join(rows)

    def scalars(self, reads: set[Name]) -> list[str]:
        rows = []
        for k, name in enumerate(self.coefficients):
            if name in reads:
                rows.append(f"        const real {self.names[name]} = (real)coefficients[{k}];")
        for k, name in enumerate(self.numbers):
            if name in reads:
                at = f"numbers[(int64_t)owner[j] * {len(self.numbers)} + {k}]"
                rows.append(f"        const real {self.names[name]} = (real){at};")
        return rows

    # -------------------------------------------------------------- numbers per tensor

    def norms(self, k: int, each: Pass) -> str:
        count = len(each.reductions)
        return "\n".join(
            [
                f"void norms_{k}(int64_t chunks, const int32_t *owner, const double *partial,",
                "             int64_t tensors, double *norms)",
                "{",
                f"    memset(norms, 0, tensors * {count} * sizeof(double));",
                "    for (int64_t j = 0; j < chunks; j++)",
                f"        for (int r = 0; r < {count}; r++)",
                f"            norms[(int64_t)owner[j] * {count} + r] += partial[j * {count} + r];",
                f"    for (int64_t j = 0; j < tensors * {count}; j++) norms[j] = sqrt(norms[j]);",
                "}",
                "",
            ]
        )

    def per_tensor(self, k: int, each: Pass) -> str:
        """Return the function that turns the norms of passes 0 to k into numbers per tensor."""
        rows = [
            f"void numbers_{k}(int64_t tensors, const double *const *norms,",
            "               const double *coefficients, double *numbers)",
            "{",
            "    for (int64_t j = 0; j < tensors; j++) {",
        ]
        reads = {n for _, expr in each.numbers for n in names_in(expr)}
        for p, earlier in enumerate(self.plan.passes[: k + 1]):
            for r, reduction in enumerate(earlier.reductions):
                if reduction.name in reads:
                    at = f"norms[{p}][j * {len(earlier.reductions)} + {r}]"
                    spelt = self.spelling.norms[reduction.name]
                    rows.append(f"        const double {spelt} = {at};")
        for place, name in enumerate(self.coefficients):
            if name in reads:
                rows.append(f"        const double {self.names[name]} = coefficients[{place}];")
        for name, expr in each.numbers:
            at = f"numbers[j * {len(self.numbers)} + {self.numbers.index(name)}]"
            rows.append(f"        {at} = {NUMBERS.text(expr, self._norm_names(name))};")
        return "\n".join([*rows, "    }", "}", ""])

    def _norm_names(self, name: Name) -> dict[Name, str]:
        """Return identifiers with norms before numbers: a bare norm is both, under one name."""
        return {**self.names, **self.spelling.norms}
