"""The recursion on second moments in C, for one number of states a file.

Eight coordinates go side by side in one vector of the compiler's; where the processor has shorter
ones, the compiler splits it. What decays below the smallest normal number is taken as 0: numbers
below are a hundred times slower.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from optzoo.engines.build import load

WIDTH = 8
"""Coordinates in a vector."""

SOURCE = r"""
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#define K @K@
#define PAIRS (K * (K + 1) / 2)
typedef double vec __attribute__((vector_size(64), aligned(8)));

/* where the pair i <= j stands in the upper triangle, row by row */
#define AT(i, j) ((i) * K - (i) * ((i) - 1) / 2 + (j) - (i))
#define PAIR(i, j) ((i) <= (j) ? AT(i, j) : AT(j, i))

static inline double sum(vec v) {
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

/* M <- D M D' + b b' [f q + lam (g sum + sigma2)]/B with D = A - lam b e', q = M_00, step after
   step, until the sum of lam q is above `limit`. Returns the steps that were taken. The rows of
   `along` are, for each coordinate, lam, lam times the multiplicity, f/B and lam/B. */
int64_t advance(int64_t steps, int64_t blocks, double *restrict moments,
                const double *restrict along, double g, double sigma2, double limit,
                const double *restrict coefficients, int64_t stride,
                const double *restrict views, int64_t view_stride, double *restrict risks) {
  const int64_t n = 8 * blocks;
  const double *lam = along, *weight = along + n, *own = along + 2 * n, *shared = along + 3 * n;
  int64_t t = 0;
#if defined(__SSE2__)
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | 0x8040);
#endif
  vec all = {0};
  for (int64_t i = 0; i < n; i += 8)
    all += *(const vec *)(weight + i) * *(const vec *)(moments + i);
  double total = sum(all);
  for (; t < steps && total <= limit; t++) {
    const double *A = coefficients + t * stride, *b = A + K * K, *r = views + t * view_stride;
    const double noise = g * total + sigma2;
    vec risk = {0};
    all = risk;
    for (int64_t i = 0; i < n; i += 8) {
      vec m[PAIRS], p[K][K], column[K];
      const vec curve = *(const vec *)(lam + i), w = *(const vec *)(weight + i);
#pragma GCC unroll 64
      for (int e = 0; e < PAIRS; e++) m[e] = *(const vec *)(moments + e * n + i);
      const vec force = *(const vec *)(own + i) * m[0] + *(const vec *)(shared + i) * noise;
#pragma GCC unroll 16
      for (int j = 0; j < K; j++) column[j] = A[j * K] - curve * b[j];
#pragma GCC unroll 16
      for (int j = 0; j < K; j++)
#pragma GCC unroll 16
        for (int c = 0; c < K; c++) {
          vec x = column[j] * m[PAIR(0, c)];
#pragma GCC unroll 16
          for (int h = 1; h < K; h++) x += A[j * K + h] * m[PAIR(h, c)];
          p[j][c] = x;
        }
#pragma GCC unroll 16
      for (int j = 0; j < K; j++)
#pragma GCC unroll 16
        for (int c = j; c < K; c++) {
          vec x = p[j][0] * column[c];
#pragma GCC unroll 16
          for (int h = 1; h < K; h++) x += p[j][h] * A[c * K + h];
          x += (b[j] * b[c]) * force;
          m[AT(j, c)] = x;
          *(vec *)(moments + AT(j, c) * n + i) = x;
        }
      all += w * m[0];
      if (risks) {
        vec x = {0};
#pragma GCC unroll 16
        for (int j = 0; j < K; j++)
#pragma GCC unroll 16
          for (int c = j; c < K; c++) x += ((j == c ? 1 : 2) * r[j] * r[c]) * m[AT(j, c)];
        risk += w * x;
      }
    }
    total = sum(all);
    if (risks) risks[t] = sum(risk) / 2;
  }
#if defined(__SSE2__)
  _mm_setcsr(control);
#endif
  return t;
}
"""


@functools.cache
def moments_kernel(size: int) -> Callable[..., int]:
    """Return `advance` for `size` states. Raises CompilationError where nothing can be compiled."""
    library = load(SOURCE.replace("@K@", str(size)), threads=False)
    function = library.advance
    integer, number, pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
    function.argtypes = [
        integer, integer, pointer, pointer, number, number, number,
        pointer, integer, pointer, integer, pointer,
    ]  # fmt: skip
    function.restype = integer
    return function
