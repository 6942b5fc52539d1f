// Matrix products on tiles of registers.
//
// Every entry of a product is the sum of chains of fused multiply-adds in the order of the inner
// index, whatever the tile and the thread it lies in: results do not depend on how work is divided.

#ifndef LSTM_ORACLE_PRODUCTS_H_
#define LSTM_ORACLE_PRODUCTS_H_

#include <algorithm>
#include <array>
#include <type_traits>

#include "vector.h"

namespace lstm_oracle {

constexpr int kGates = 4;
constexpr int kChain = 128;  // products summed from 0: rounding grows with the length of a chain
constexpr int kPanel = 4;  // vectors that lie side by side in a packed matrix

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }

struct Range {
  int begin, end;
  int size() const { return end - begin; }
};

// Part `index` of `count`, in units of `grain`.
inline Range share(int total, int index, int count, int grain = 1) {
  const int units = ceil_div(total, grain);
  const auto border = [&](int i) {
    const int at = int(int64_t(units) * i / count) * grain;
    return at < total ? at : total;
  };
  return {border(index), border(index + 1)};
}

// acc[r][p * V + v] += sum over k of a[r][k * AStep] * b[p][k][v].
template <int V, int P, int AStep, class T, int R>
LSTM_ORACLE_INLINE void multiply(Vector<T> (&acc)[R][P * V], const T* const (&a)[R], int K,
                                 const T* b, size_t panel_step = 0) {
  constexpr int L = kLanes<T>;
  for (int k = 0; k < K; ++k) {
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      const T* row = b + p * panel_step + size_t(k) * (V * L);
      Vector<T> right[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) right[v] = load(row + v * L);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const Vector<T> left = all(a[r][size_t(k) * AStep]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[r][p * V + v] += left * right[v];
      }
    }
  }
}

// Calls body(integral_constant<R>, first) for groups of rows as equal as can be.
template <int R, class Body>
LSTM_ORACLE_INLINE void with_rows(int rows, int first, Body&& body) {
  if constexpr (R > 0) {
    if (rows == R) {
      body(std::integral_constant<int, R>{}, first);
    } else {
      with_rows<R - 1>(rows, first, body);
    }
  }
}

template <class Body>
LSTM_ORACLE_INLINE void for_row_groups(Range rows, Body&& body) {
  const int groups = ceil_div(rows.size(), kMaxRows);
  for (int n = 0; n < groups; ++n) {
    const Range group = share(rows.size(), n, groups);
    with_rows<kMaxRows>(group.size(), rows.begin + group.begin, body);
  }
}

// Calls body(integral_constant<V>) with V the number of vectors in a panel.
template <int V = kPanel, class Body>
LSTM_ORACLE_INLINE void with_vectors(int vectors, Body&& body) {
  if constexpr (V > 0) {
    if (vectors == V) {
      body(std::integral_constant<int, V>{});
    } else {
      with_vectors<V - 1>(vectors, body);
    }
  }
}

// --- packed matrices -----------------------------------------------------------------------------

// Where things lie: units in blocks of one vector, the four gates of a block side by side.
//   z, d_Z   (T, Hb, B, 4, L)      c   (T, Hb, B, L)
template <class T>
struct Layout {
  int steps, batch, inputs, hidden;
  static constexpr int L = kLanes<T>;
  static constexpr int GL = kGates * L;

  int blocks() const { return ceil_div(hidden, L); }
  int padded() const { return blocks() * L; }
  int lanes(int block) const { return hidden - block * L; }
  size_t z_at(int t, int block, int b) const {
    return ((size_t(t) * blocks() + block) * batch + b) * GL;
  }
  size_t c_at(int t, int block, int b) const {
    return ((size_t(t) * blocks() + block) * batch + b) * L;
  }
  // (B, T, N) of the outside.
  size_t row(int t, int b, int N) const { return (size_t(b) * steps + t) * N; }
  // Of a product of every step with a matrix of N rows and the columns of all gates.
  double flops(int N) const { return 8.0 * steps * batch * hidden * N; }
};

// One gate's weights or biases each, as they come from outside.
template <class T>
using PerGate = std::array<const T*, kGates>;

// One (N, H) matrix per gate, columns of blocks [begin, end), into (Hb, N, 4, L).
template <class T>
void pack_gates(const Layout<T>& at, const PerGate<T>& weights, int N, Range blocks, T* packed) {
  constexpr int L = kLanes<T>;
  for (int j = blocks.begin; j < blocks.end; ++j) {
    T* to = packed + size_t(j) * N * at.GL;
    for (int n = 0; n < N; ++n) {
      for (int k = 0; k < kGates; ++k, to += L) {
        store(to, load_first(weights[k] + size_t(n) * at.hidden + j * L, at.lanes(j)));
      }
    }
  }
}

// The transpose, (4 Hb L, N), columns of panels [begin, end), into (panels, 4 Hb L, V, L): rows in
// the order of d_Z, that is block, gate, lane.
template <class T>
void pack_transposed(const Layout<T>& at, const PerGate<T>& weights, int N, Range panels,
                     T* packed) {
  constexpr int L = kLanes<T>;
  const int K = at.blocks() * at.GL;
  for (int p = panels.begin; p < panels.end; ++p) {
    const int first = p * kPanel * L;
    const int vectors = std::min(kPanel, ceil_div(N - first, L));
    const int width = vectors * L;
    T* const panel = packed + size_t(K) * first;
    for (int n = 0; n < width; ++n) {
      const bool inside = first + n < N;
      for (int j = 0; j < at.blocks(); ++j) {
        for (int k = 0; k < kGates; ++k) {
          T* to = panel + size_t(j * kGates + k) * L * width + n;
          const T* from = weights[k] + size_t(first + n) * at.hidden + j * L;
          for (int l = 0; l < L; ++l) {
            to[size_t(l) * width] = inside && l < at.lanes(j) ? from[l] : T(0);
          }
        }
      }
    }
  }
}

}  // namespace lstm_oracle

#endif  // LSTM_ORACLE_PRODUCTS_H_
