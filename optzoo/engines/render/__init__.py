"""Renderers: the step of a program as source text, in one language a file."""

from __future__ import annotations

from collections.abc import Collection

from optzoo.program.ir import Program
from optzoo.program.planning import plan_program


def render(program: Program, language: str, narrow: Collection[str] = ()) -> str:
    """Return a checked program's step as "c", "triton" or "python", in float32.

    `narrow` are the buffers kept in bfloat16, which C and Triton load and store themselves; C on
    matrices (`render_pieces`) is what lies between their products.
    """
    from optzoo.engines.render.c import render_c
    from optzoo.engines.render.c_segment import render_pieces
    from optzoo.engines.render.python import step_source
    from optzoo.engines.render.triton import render_triton

    if language == "python":
        return step_source(program).text
    if language == "c" and not program.is_flat:
        return render_pieces(program)
    plan = plan_program(program)
    return (render_c if language == "c" else render_triton)(plan, narrow=narrow).text
