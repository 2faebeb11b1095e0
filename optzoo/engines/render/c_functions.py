"""The functions in C that a rendered step calls, and the types and constants of its text."""

from __future__ import annotations

TYPES = {"float64": "double", "float32": "float", "bfloat16": "uint16_t"}
"""Storage types by the name of the dtype."""

BLOCK = 64
"""Elements between two looks ahead: a few lines of each slot."""

AHEAD = 512
"""Elements that memory is asked for in advance: the way to memory takes as long as they do."""

NAMES = """
    real squared smaller larger magnitude sign_of root BLOCK AHEAD fetch_ahead
    squared_d smaller_d larger_d sign_of_d sqrt fabs
    power exponential logarithm tangent angle ratio_of chosen ratio_of_d chosen_d
    pow exp log tanh atan2
    wide_of bits_of half_a_unit upper drawn narrowed nearest kept
    int32_t int64_t uint16_t uint32_t uint64_t uintptr_t
"""
"""What is defined here and is no name for anything of a program."""

_PRELUDE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef {real} real;

enum {{ BLOCK = {block}, AHEAD = {ahead} }};

static inline real squared(real x) {{ return x * x; }}
static inline real root(real x) {{ return {sqrt}(x); }}
static inline real magnitude(real x) {{ return {fabs}(x); }}
static inline real sign_of(real x) {{ return (real)(x > 0) - (real)(x < 0); }}
/* NaN goes through, as in torch */
static inline real smaller(real a, real b) {{ return (a < b) | (a != a) ? a : b; }}
static inline real larger(real a, real b) {{ return (a > b) | (a != a) ? a : b; }}
static inline real power(real a, real b) {{ return {pow}(a, b); }}
static inline real exponential(real x) {{ return {exp}(x); }}
static inline real logarithm(real x) {{ return {log}(x); }}
static inline real tangent(real x) {{ return {tanh}(x); }}
static inline real angle(real a, real b) {{ return {atan2}(a, b); }}
static inline real ratio_of(real a, real b) {{ return b == 0 ? 0 : a / b; }}
static inline real chosen(real when, real a, real b) {{ return when != 0 ? a : b; }}
static inline double squared_d(double x) {{ return x * x; }}
static inline double sign_of_d(double x) {{ return (double)(x > 0) - (double)(x < 0); }}
static inline double smaller_d(double a, double b) {{ return (a < b) | (a != a) ? a : b; }}
static inline double larger_d(double a, double b) {{ return (a > b) | (a != a) ? a : b; }}
static inline double ratio_of_d(double a, double b) {{ return b == 0 ? 0 : a / b; }}
static inline double chosen_d(double when, double a, double b) {{ return when != 0 ? a : b; }}
"""

_AHEAD = """\
/* Fetch a block's worth of what will be read a little later: by itself a processor looks ahead no
   further than the end of a page of memory. */
static inline void fetch_ahead(const void *at, uintptr_t width)
{
#ifdef __GNUC__
    for (uintptr_t k = 0; k < BLOCK * width; k += 64)
        __builtin_prefetch((const void *)((uintptr_t)at + AHEAD * width + k));
#else
    (void)at, (void)width;
#endif
}
"""

_BFLOAT16 = """\
static inline real wide_of(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return (real)wide;
}

static inline uint32_t bits_of(real x)
{
    const float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

/* What rounds to nearest, ties to even, when it is added before the lower half is cut off */
static inline uint32_t half_a_unit(uint32_t bits)
{
    return UINT32_C(0x7fff) + ((bits >> 16) & 1);
}

/* The upper half of a sum; NaN stays. */
static inline uint16_t upper(uint32_t bits, uint32_t added)
{
    const uint32_t is_nan = (bits & UINT32_C(0x7fffffff)) > UINT32_C(0x7f800000);
    return (uint16_t)((is_nan ? bits | UINT32_C(0x400000) : bits + added) >> 16);
}
"""

_RANDOM = """\
/* 32 random bits of element i, by multiplications that a processor does many of at once */
static inline uint32_t drawn(uint64_t key, uint32_t i)
{
    uint32_t x = i + (uint32_t)key;
    x = (x ^ (x >> 16)) * UINT32_C(0x7feb352d);
    x = (x ^ (x >> 15)) + (uint32_t)(key >> 32);
    x = (x ^ (x >> 16)) * UINT32_C(0x846ca68b);
    x = (x ^ (x >> 15)) * UINT32_C(0x9e3779b1);
    return x ^ (x >> 16);
}

/* One of the two neighbours of x, by 16 random bits. Infinities and NaN stay; a finite value beyond
   the largest bfloat16 goes where rounding to nearest takes it. */
static inline uint16_t narrowed(real x, uint32_t random)
{
    const uint32_t bits = bits_of(x);
    const uint32_t size = bits & UINT32_C(0x7fffffff);
    return upper(bits, size < UINT32_C(0x7f7f0000) ? random : half_a_unit(bits));
}
"""

_SHOWN = """\
static inline uint16_t nearest(real x)
{
    const uint32_t bits = bits_of(x);
    return upper(bits, half_a_unit(bits));
}

/* The wide copy of a parameter where that still is what it shows, else what was loaded into it */
static inline real kept(real x, uint16_t shown) { return nearest(x) == shown ? x : wide_of(shown); }
"""


_OF_THE_LIBRARY = ("sqrt", "fabs", "pow", "exp", "log", "tanh", "atan2")


def functions(dtype: str, *, bfloat16: bool, random: bool, shown: bool) -> list[str]:
    """Return the text before a step, with arithmetic in `dtype`, as far as the step needs it.

    `bfloat16`: something is stored so; `random`: by stochastic rounding; `shown`: parameters are,
    beside wide copies.
    """
    is_double = dtype == "float64"
    prelude = _PRELUDE.format(
        real=TYPES[dtype],
        block=BLOCK,
        ahead=AHEAD,
        **{name: name if is_double else f"{name}f" for name in _OF_THE_LIBRARY},
    )
    wanted = {_BFLOAT16: bfloat16 or random or shown, _RANDOM: random, _SHOWN: shown}
    return [prelude, _AHEAD, *(text for text, is_wanted in wanted.items() if is_wanted)]
