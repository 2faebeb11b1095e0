"""Recipes damaged at random: whatever a file says, it loads or it is refused with one clear error.

Every shipped recipe is mutated by a seeded generator: bytes, tokens, lines, indentation, values
swapped for hostile ones, huge numbers, aliases, deep nesting, other recipes' lines. A file that
still loads is computed for some steps and, now and then, described. Nothing but `InputError` may
come out, nothing may hang, and no file may take much memory. `OPTZOO_FUZZ=20000` tries as many.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from optzoo.description.description import describe
from optzoo.description.output.text import format_report
from optzoo.errors import CONTROLS, InputError
from optzoo.files.shipped import shipped
from optzoo.recipe.recipe import Recipe, parse_recipe

COUNT = max(3_000, int(os.environ.get("OPTZOO_FUZZ", "0")))
CHUNK = 250
DESCRIBED_EVERY = 8
"""Of the files that load, one in so many is described."""
STEPS = 30
HANG = 60
"""Seconds after which a file has hung; what takes longest takes well under one."""
MEGABYTES = 200

SOURCES = [path.read_text(encoding="utf-8") for path in shipped().values()]
SOURCES += 8 * [
    """\
name: filtered
version: 2
summary: a filter of another recipe
reference: none
extends: adamw
hyperparameters:
  eps: {default: 1e-6}
  a: {default: 0.5, in: "[0, 1]", doc: pace}
weight_decay: null
signals: {u: direction + weight_decay*param}
buffers:
  m: {gain: 1}
  slow: {input: a*slow.prev + (1 - a)*moved, decay: 0, gain: 1, init: param}
update: u/(norm(u) + 1e-9)
point: moved + a*(slow - moved)
""",
    """\
name: routed
version: 2
summary: rules for kinds
reference: none
extends: sgd_momentum
routes:
  - {name: ["*.q", "*.k"], use: plain}
  - {kind: matrix, rank: 2, use: here}
  - {kind: [embedding, head], use: adamw, set: {lr: 0.05*lr, beta2: 1 - t**-0.8, weight_decay: 0}}
  - {use: schedule_free_sgd, set: {lr: lr/2}}
parts:
  plain: {buffers: {m: {gain: 1}}, scalars: {later: null}, update: "max(grad, 2*direction)"}
observers: {tail: {weight: "min(1, 1/(0.1*t))"}}
""",
]
Mutation = Callable[[random.Random, str], str]


def words(text: str) -> list[str]:
    return text.split()


NUMBERS = words("""
    0 1 -1 2 0.5 1e308 1.8e308 1e-308 1e-320 1e-400 1e400 .inf -.inf .nan 1e1 e1 1e 0x10 0b1
    010 1_000 _1 1__0 +1 -0 -0.0 1e+ .5 5. . .. 1.2.3 12:30:45 2026-11-25 ~ null true yes
""")
NUMBERS += ["9" * 25, "9" * 320, "1" * 5_000, "0." + "3" * 400, "1_" * 200]
EXPRESSIONS = words("""
    9**9**9 9**9**9**9**9 exp(1000) exp(-1000) log(0) log(-1) log(t-1) sqrt(-1) sqrt(1-t) log(t)
    1e300*1e300 1e300*t 1/0 0/0 1/t 1/(t-1) 1/(1-t) (0-t)**0.5 (1-t)**0.5 0**(0-1) t**t t**t**t
    exp(t) exp(100*t) half_life(2,3,t) half_life(0.5,1,1/t) half_life(0.9,0.99,0.5) cospi(1e300)
    ratio(1,0) positive(0) min(1,2) max(0,t) norm(grad) norm(1) norm(t) square(t) abs(-t) 2**t
    sign(grad) grad grad.prev param param.prev m m.prev m.next v v.prev t T t.prev t.next T.next
    lr lr0 lr.prev lr.next preconditioned average k k.prev k.next x.y.z a.b 1+ +1 -1 --t (( ))
    f(x) min() min(1) lambda:0 [1] {1:2} 'x' "y" 1if 1or(2) not(t) t<1 t==1 a:=1 *m **m m[0] m()
    __import__('os') ... 0.99**t 1-0.9**t t/(t+3) beta1 beta1**t 1-beta1 sqrt(2) exp(-t) exp(1/t)
""")
EXPRESSIONS += ["(" * 60 + "t" + ")" * 60, "-" * 300 + "t", "+".join(["t"] * 200), "t" * 300]
EXPRESSIONS += [
    "1/(1e-320 + 0*t)",
    "1/(t*1e-320)",
    "((t + lr + lr0)**8)**8",
    "\u03b2 + 1",
    "t\u00b2",
]
TEXTS = [
    "",
    " ",
    "''",
    '"\\e[31m"',
    '"\\uD800"',
    '"\\U00110000"',
    '"adamw\\n"',
    '"\\0"',
    "\u202etxt",
]
TEXTS += [
    "*a",
    "&a x",
    "*nowhere",
    "<<: *a",
    "!!int x",
    "!x y",
    "? a",
    "- 1",
    "[]",
    "{}",
    "|",
    ">-",
]
TEXTS += [
    "[0, 1)",
    "'[0, 1)'",
    "'[inf, inf]'",
    "'(1, 1)'",
    "'[1, 0]'",
    "'[nan, 1]'",
    "'[0, 1e400)'",
]
TEXTS += [
    "\u00e9t\u00e9",
    "\U0001f600",
    "x" * 300,
    "x" * 30_000,
    "none",
    "sign",
    "average",
    "{mix: {m: 1}}",
]
TEXTS += ["{schedule: cosine, start: 1, end: 0, over: T}", "{schedule: power, exponent: 1e3}"]
TEXTS += [
    "{sum: lr}",
    "{product: 1e30}",
    "{max: t}",
    "{expr: 'k.prev + 1', start: 1e300}",
    "{sum: 1, max: 1}",
]
HOSTILE = [*NUMBERS, *EXPRESSIONS, *TEXTS]
ODD = "\x00\x07\x1b\x7f\x85\u00a0\u2028\ufeff\ud800\U0001f600\t:#&*!|>'\"%@`,[]{}?-\\"

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*|[0-9][0-9.e+-]*|[-+*/(){}\[\],:]")
VALUE = re.compile(r"(?<=: )[^,{}\[\]\n#]+")
NUMBER = re.compile(r"(?<![A-Za-z_0-9.])[0-9]+(\.[0-9]+)?(e-?[0-9]+)?")


def flip(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) + 1)
    new = rng.choice([chr(rng.randrange(32, 127)), rng.choice(ODD), ""])
    return text[:place] + new + text[place + rng.randrange(2) :]


def swap_tokens(rng: random.Random, text: str) -> str:
    words = list(WORD.finditer(text))
    if len(words) < 2:
        return text
    a, b = sorted(rng.sample(words, 2), key=lambda match: match.start())
    return text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]


def replaced(pattern: re.Pattern[str], choices: list[str]) -> Mutation:
    """A mutation that puts something else in the place of a match."""

    def mutate(rng: random.Random, text: str) -> str:
        found = list(pattern.finditer(text))
        if not found:
            return text
        match, new = rng.choice(found), rng.choice(choices)
        if rng.random() < 0.3:
            new = f'"{new}"'
        return text[: match.start()] + new + text[match.end() :]

    return mutate


def by_lines(change: Callable[[random.Random, list[str]], object]) -> Mutation:
    """A mutation of the list of lines, in place."""

    def mutate(rng: random.Random, text: str) -> str:
        lines = text.split("\n")
        change(rng, lines)
        return "\n".join(lines)

    return mutate


def delete_line(rng: random.Random, lines: list[str]) -> None:
    del lines[rng.randrange(len(lines))]


def double_line(rng: random.Random, lines: list[str]) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))


def indent_line(rng: random.Random, lines: list[str]) -> None:
    i = rng.randrange(len(lines))
    lines[i] = rng.choice(["", " ", "  ", "    ", "\t", " " * 41]) + lines[i].lstrip()


def take_line(rng: random.Random, lines: list[str]) -> None:
    other = rng.choice(SOURCES).split("\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(other))


def take_block(rng: random.Random, lines: list[str]) -> None:
    other = rng.choice(SOURCES).split("\n")
    start = rng.randrange(len(other))
    place = rng.randrange(len(lines))
    lines[place : place + rng.randrange(8)] = other[start : start + rng.randrange(12)]


def repeat_line(rng: random.Random, lines: list[str]) -> None:
    i = rng.randrange(len(lines))
    word = WORD.match(lines[i].strip())
    many = rng.choice([3, 3, 30, 30, 300, 3_000])
    if word is None or rng.random() < 0.3:
        lines[i:i] = [lines[i]] * many
    else:
        lines[i:i] = [lines[i].replace(word[0], f"{word[0]}{j}", 1) for j in range(many)]


def alias(rng: random.Random, lines: list[str]) -> None:
    for mark, i in zip("&*", sorted(rng.choices(range(len(lines)), k=2)), strict=True):
        lines[i] = lines[i].replace(": ", f": {mark}a ", 1) if mark == "&" else lines[i]
        lines[i] = re.sub(r": .*", ": *a", lines[i], count=1) if mark == "*" else lines[i]


def alias_tower(rng: random.Random, lines: list[str]) -> None:
    depth, wide = rng.choice([(36, 1), (5, 9), (20, 2), (60, 1)])
    lines.append(f"k0: &a0 {'[' * wide}1{']' * wide}")
    for i in range(1, depth):
        lines.append(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * wide)}]")


def nest(rng: random.Random, text: str) -> str:
    found = list(VALUE.finditer(text))
    if not found:
        return text
    match, depth = rng.choice(found), rng.choice([1, 2, 39, 60, 2_000])
    left, right = rng.choice([("[", "]"), ("{a: ", "}"), ("(", ")"), ("- ", "")])
    return text[: match.start()] + left * depth + match[0] + right * depth + text[match.end() :]


def cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


MUTATIONS: list[Mutation] = [
    flip,
    swap_tokens,
    replaced(VALUE, HOSTILE),
    replaced(VALUE, EXPRESSIONS),
    replaced(NUMBER, NUMBERS),
    replaced(WORD, HOSTILE),
    *map(by_lines, (delete_line, double_line, indent_line, take_line, take_block, repeat_line)),
    *map(by_lines, (alias, alias_tower)),
    nest,
    cut,
]
WEIGHTS = [3, 4, 4, 9, 6, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]


def mutated(index: int) -> str:
    """Return the damaged file of an index, always the same one."""
    rng = random.Random(index)
    text = rng.choice(SOURCES)
    for mutation in rng.choices(MUTATIONS, WEIGHTS, k=rng.choice([1, 1, 1, 2, 2, 3, 5])):
        text = mutation(rng, text)
    return text


def examine(index: int) -> Recipe | None:
    """Load a damaged file and look into it; None when it was refused."""
    try:
        recipe = parse_recipe(mutated(index), "damaged.yaml")
        recipe.check_steps(STEPS, total_steps=STEPS)
        if index % DESCRIBED_EVERY == 0:
            format_report(describe(recipe, at=(1, 10), total_steps=STEPS))
        return recipe
    except InputError as refusal:
        error = refusal
    assert error.diagnostics
    assert len(error.diagnostics) <= 250
    assert len(str(error)) < 250_000
    assert not CONTROLS.search(str(error)), "an error acts on the terminal"
    return None


@contextmanager
def hang_is_an_error(index: int) -> Iterator[None]:
    """Interrupt what takes far too long, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def interrupt(*_: object) -> None:
        raise AssertionError(f"file {index} hangs")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak_megabytes() -> float:
    """Return the most memory this process has held; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@pytest.mark.parametrize("start", range(0, COUNT, CHUNK))
def test_a_damaged_recipe_loads_or_is_refused(start: int) -> None:
    loaded = 0
    for index in range(start, min(start + CHUNK, COUNT)):
        before = peak_megabytes()
        with hang_is_an_error(index):
            try:
                loaded += examine(index) is not None
            except InputError:
                raise
            except Exception as error:
                raise AssertionError(
                    f"mutated({index}): {type(error).__name__}: {error}"
                ) from error
        assert peak_megabytes() - before < MEGABYTES, f"mutated({index}) takes too much memory"
    assert 0 < loaded < CHUNK, "the damage is too heavy, or none"
