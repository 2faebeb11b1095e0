"""A segment as C: one loop over the elements of a stack of matrices; see `tensors.segments`.

The function of the text:

    segment(matrices, rows, cols, band, slots, coefficients, partial, threads)

A row of `slots` is the addresses of what one matrix reads, keeps and stores, in that order. What it
reads is full, or has one number for each row, for each column, or for the matrix (`Spread`). One
thread takes `band` rows at a time, and of these parts of up to `CHUNK` columns. `partial` has an
address for each reduction, of what its parts were gathered to, in double:

    a row's       matrices x rows x parts
    a column's    matrices x bands x cols
    the whole's   matrices x bands x parts

Whoever joins them does so in the same order, whatever the number of threads is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optzoo.engines.render.c import TENSORS
from optzoo.engines.render.c_functions import functions
from optzoo.program.expressions import Call, Name, format_expression, names_in
from optzoo.program.ir import Line, Program
from optzoo.program.ops import OPS
from optzoo.program.simplify import conditions_of, decided
from optzoo.program.tensors.segments import Segment, Spread, cut, spread_of

CHUNK = 16_384
"""Elements that one thread takes at a time, about."""

BAND = 32
"""Rows, at least, that one thread takes at a time where columns are gathered: they take memory."""

_GATHERED = {
    "sum": ("0", "{0} += {1};", True),
    "mean": ("0", "{0} += {1};", True),
    "norm": ("0", "{0} += {1} * {1};", True),
    "largest": ("-INFINITY", "{0} = larger_d({0}, {1});", False),
    "smallest": ("INFINITY", "{0} = smaller_d({0}, {1});", False),
}
"""How a reduction begins, takes up an element, and whether lanes of a processor may add it up."""


def render_segment(segment: Segment, spreads: Mapping[Name, Spread], dtype: str) -> str:
    """Return a segment as C, with arithmetic in `dtype`; `spreads` are those of what it reads."""
    return "\n".join(
        [
            *functions(dtype, bfloat16=False, random=False, shown=False),
            *_SegmentRenderer(segment, spreads).rows(),
            "",
        ]
    )


def render_pieces(program: Program) -> str:
    """Return a step of a program with matrices: its segments as C, in float32, and what is between.

    Of conditions that are numbers of the host, those of most steps: they do not hold.
    """
    conditions = conditions_of(program)
    found = cut(program, decided(program, dict.fromkeys(conditions, False)))
    head = [f"One step of {program.name} on matrices: segments of elements, each one pass through"]
    head += ["memory, and between them, as comments, what torch computes."]
    head += [f"Where {format_expression(each)} does not hold." for each in conditions]
    rows = ["/* " + "\n   ".join(head), "*/"]
    rows += functions("float32", bfloat16=False, random=False, shown=False)
    for k, piece in enumerate(found.pieces):
        if isinstance(piece, Line):
            rows += [f"/* {piece} */", ""]
            continue
        spreads = {name: spread_of(found.shapes[name], piece.shape) for name in piece.reads}
        names = ", ".join(map(str, [*piece.reads, *piece.keeps, *piece.stores]))
        rows += [f"/* slots: {names}"]
        rows += [f"   c{i} = {format_expression(e)}" for i, (_, e) in enumerate(piece.coefficients)]
        rows += ["*/", *_SegmentRenderer(piece, spreads, f"segment_{k}").rows(), ""]
    return "\n".join(rows)


class _SegmentRenderer:
    def __init__(
        self, segment: Segment, spreads: Mapping[Name, Spread], name: str = "segment"
    ) -> None:
        self.segment, self.spreads, self.name = segment, spreads, name
        self.coefficients = {name: f"c{k}" for k, (name, _) in enumerate(segment.coefficients)}
        self.read = {name: f"x{k}" for k, name in enumerate(segment.reads)}
        self.made = {line.target: f"y{k}" for k, line in enumerate(segment.lines)}
        self.names = {**self.coefficients, **self.read, **self.made}

    def rows(self) -> list[str]:
        segment = self.segment
        outputs = [*segment.keeps, *segment.stores]
        width = len(segment.reads) + len(outputs)
        head = [
            f"void {self.name}(int64_t matrices, int64_t rows, int64_t cols, int64_t band,",
            "             void *const *slots, const double *coefficients,",
            "             double *const *partial, int threads)",
            "{",
            f"    const int64_t parts = (cols + {CHUNK - 1}) / {CHUNK};",
            "    const int64_t bands = (rows + band - 1) / band;",
            "    #pragma omp parallel for num_threads(threads) schedule(static)",
            "    for (int64_t j = 0; j < matrices * bands * parts; j++) {",
            "        const int64_t matrix = j / (bands * parts);",
            f"        const int64_t first = j % parts * {CHUNK};",
            f"        const int32_t count = cols - first < {CHUNK} ? cols - first : {CHUNK};",
            "        const int64_t begin = j / parts % bands * band;",
            "        const int64_t end = rows - begin < band ? rows : begin + band;",
            f"        void *const *row = slots + matrix * {width};",
        ]
        head += [
            f"        const real {spelt} = (real)coefficients[{k}];"
            for k, spelt in enumerate(self.coefficients.values())
        ]
        before, each, loads = self._loads()
        stores = []
        for k, name in enumerate(outputs, start=len(segment.reads)):
            each.append(f"real *at_{k} = (real *)row[{k}] + line * cols + first;")
            stores.append(f"at_{k}[i] = {self.names[name]};")
        gathering = _Gathering(segment.reductions, self.names)
        rows = [*head, *(f"        {text}" for text in (*before, *gathering.before))]
        rows.append("        for (int64_t line = begin; line < end; line++) {")
        rows += [f"            {text}" for text in (*each, *gathering.each, gathering.pragma)]
        rows.append("            for (int32_t i = 0; i < count; i++) {")
        body = list(loads)
        for line in segment.lines:
            text = TENSORS.text(line.expr, self.names)
            body.append(f"const real {self.made[line.target]} = {text};  /* {line} */")
        rows += [f"                {text}" for text in (*body, *gathering.inside, *stores)]
        rows += ["            }", *(f"            {text}" for text in gathering.after), "        }"]
        return [*rows, *(f"        {text}" for text in gathering.at_end), "    }", "}"]

    def _loads(self) -> tuple[list[str], list[str], list[str]]:
        """Return what is read before the rows of a band, before each row, and for each element."""
        before, each, loads = [], [], []
        for k, (name, spelt) in enumerate(self.read.items()):
            begin = f"(const real *)row[{k}]"
            match self.spreads[name]:
                case "full":
                    each.append(f"const real *at_{k} = {begin} + line * cols + first;")
                    loads.append(f"const real {spelt} = at_{k}[i];")
                case "column":
                    before.append(f"const real *at_{k} = {begin} + first;")
                    loads.append(f"const real {spelt} = at_{k}[i];")
                case "row":
                    each.append(f"const real {spelt} = ({begin})[line];")
                case "one":
                    before.append(f"const real {spelt} = *({begin});")
        return before, each, loads


class _Gathering:
    """The text of a segment's reductions, by where in the loops it stands."""

    def __init__(self, reductions: Sequence[Line], names: Mapping[Name, str]) -> None:
        self.before: list[str] = []
        self.each: list[str] = []
        self.inside: list[str] = []
        self.after: list[str] = []
        self.at_end: list[str] = []
        added: list[str] = []
        is_simd = True
        for k, line in enumerate(reductions):
            kind, kept = _kind(line)
            start, takes, is_sum = _GATHERED[kind]
            self.inside.append(
                f"const double term_{k} = (double){names[next(names_in(line.expr))]};"
            )
            if kept == "column":
                at = "(matrix * bands + begin / band) * cols + first"
                self.before.append(f"double *all_{k} = partial[{k}] + {at};")
                self.before.append(f"for (int32_t i = 0; i < count; i++) all_{k}[i] = {start};")
                self.inside.append(takes.format(f"all_{k}[i]", f"term_{k}"))
                continue
            self.inside.append(takes.format(f"sum_{k}", f"term_{k}"))
            place = "(matrix * rows + line) * parts + j % parts" if kept == "row" else "j"
            (self.each if kept == "row" else self.before).append(f"double sum_{k} = {start};")
            (self.after if kept == "row" else self.at_end).append(
                f"partial[{k}][{place}] = sum_{k};"
            )
            is_simd = is_simd and is_sum
            added.append(f"sum_{k}")
        clause = f" reduction(+ : {', '.join(added)})" if added else ""
        self.pragma = f"#pragma omp simd{clause}" if is_simd else ""


def _kind(line: Line) -> tuple[str, str]:
    """Return what a reduction makes of elements, and what keeps a number of its own."""
    assert isinstance(line.expr, Call)
    known = OPS[line.expr.op]
    assert known.reduces is not None
    return known.reduces, known.kept
