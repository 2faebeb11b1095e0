"""A segment as C: one loop over the elements of a stack of matrices; see `tensors.segments`.

The function of the text:

    segment(matrices, rows, cols, slots, coefficients, partial, threads)

A row of `slots` is the addresses of what one matrix reads, keeps and stores, in that order. What it
reads is full, or has one number for each row, for each column, or for the matrix (`Spread`). A row
is walked in parts of up to `CHUNK` elements, and `partial` takes the reductions of each part, in
double: whoever adds them up does so in the same order, whatever the number of threads is.
"""

from __future__ import annotations

from collections.abc import Mapping

from optzoo.engines.render.c import TENSORS
from optzoo.engines.render.c_functions import functions
from optzoo.program.expressions import Call, Name, names_in
from optzoo.program.ir import Line
from optzoo.program.ops import OPS
from optzoo.program.tensors.segments import Segment, Spread

CHUNK = 16_384
"""Elements of a row that one thread takes at a time."""

_GATHERED = {
    "sum": ("0", "{0} += {1};", "+"),
    "mean": ("0", "{0} += {1};", "+"),
    "norm": ("0", "{0} += {1} * {1};", "+"),
    "largest": ("-INFINITY", "{0} = larger_d({0}, {1});", None),
    "smallest": ("INFINITY", "{0} = smaller_d({0}, {1});", None),
}
"""How a reduction begins, takes up an element, and is joined by lanes of a processor."""


def render_segment(segment: Segment, spreads: Mapping[Name, Spread], dtype: str) -> str:
    """Return a segment as C, with arithmetic in `dtype`; `spreads` are those of what it reads."""
    return "\n".join(
        [
            *functions(dtype, bfloat16=False, random=False, shown=False),
            *_SegmentRenderer(segment, spreads).rows(),
            "",
        ]
    )


class _SegmentRenderer:
    def __init__(self, segment: Segment, spreads: Mapping[Name, Spread]) -> None:
        self.segment, self.spreads = segment, spreads
        self.coefficients = {name: f"c{k}" for k, (name, _) in enumerate(segment.coefficients)}
        self.read = {name: f"x{k}" for k, name in enumerate(segment.reads)}
        self.made = {line.target: f"y{k}" for k, line in enumerate(segment.lines)}
        self.names = {**self.coefficients, **self.read, **self.made}

    def rows(self) -> list[str]:
        segment = self.segment
        outputs = [*segment.keeps, *segment.stores]
        width = len(segment.reads) + len(outputs)
        parts = [
            "void segment(int64_t matrices, int64_t rows, int64_t cols, void *const *slots,",
            "             const double *coefficients, double *partial, int threads)",
            "{",
            f"    const int64_t parts = (cols + {CHUNK - 1}) / {CHUNK};",
            "    #pragma omp parallel for num_threads(threads) schedule(static)",
            "    for (int64_t j = 0; j < matrices * rows * parts; j++) {",
            "        const int64_t line = j / parts % rows;",
            f"        const int64_t first = j % parts * {CHUNK};",
            f"        const int32_t count = cols - first < {CHUNK} ? cols - first : {CHUNK};",
            f"        void *const *row = slots + j / (rows * parts) * {width};",
        ]
        parts += [
            f"        const real {spelt} = (real)coefficients[{k}];"
            for k, spelt in enumerate(self.coefficients.values())
        ]
        loads = []
        for k, (name, spelt) in enumerate(self.read.items()):
            begin = f"(const real *)row[{k}]"
            match self.spreads[name]:
                case "full":
                    parts.append(f"        const real *at_{k} = {begin} + line * cols + first;")
                    loads.append(f"const real {spelt} = at_{k}[i];")
                case "column":
                    parts.append(f"        const real *at_{k} = {begin} + first;")
                    loads.append(f"const real {spelt} = at_{k}[i];")
                case "row":
                    parts.append(f"        const real {spelt} = ({begin})[line];")
                case "one":
                    parts.append(f"        const real {spelt} = *({begin});")
        stores = []
        for k, name in enumerate(outputs, start=len(segment.reads)):
            parts.append(f"        real *at_{k} = (real *)row[{k}] + line * cols + first;")
            stores.append(f"at_{k}[i] = {self.names[name]};")
        return [*parts, *self._loop(loads, stores), "    }", "}"]

    def _loop(self, loads: list[str], stores: list[str]) -> list[str]:
        reductions = [
            (f"sum_{k}", *_GATHERED[_kind(line)], line)
            for k, line in enumerate(self.segment.reductions)
        ]
        rows = [f"        double {name} = {begin};" for name, begin, *_ in reductions]
        added = [name for name, _, _, sign, _ in reductions if sign]
        is_simd = len(added) == len(reductions)
        clause = f" reduction(+ : {', '.join(added)})" if added else ""
        rows += [f"        #pragma omp simd{clause}"] if is_simd else []
        rows.append("        for (int32_t i = 0; i < count; i++) {")
        body = list(loads)
        for line in self.segment.lines:
            text = TENSORS.text(line.expr, self.names)
            body.append(f"const real {self.made[line.target]} = {text};  /* {line} */")
        for k, (name, _, takes, _, line) in enumerate(reductions):
            value = self.names[next(names_in(line.expr))]
            body.append(f"const double term_{k} = (double){value};")
            body.append(takes.format(name, f"term_{k}"))
        rows += [f"            {row}" for row in (*body, *stores)]
        rows.append("        }")
        count = len(reductions)
        rows += [
            f"        partial[j * {count} + {k}] = {name};"
            for k, (name, *_) in enumerate(reductions)
        ]
        return rows


def _kind(line: Line) -> str:
    assert isinstance(line.expr, Call)
    kind = OPS[line.expr.op].reduces
    assert kind is not None
    return kind
