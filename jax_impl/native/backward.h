// The backward pass: d_Z from the cotangents, step by step, and the products after it.

#ifndef LSTM_ORACLE_BACKWARD_H_
#define LSTM_ORACLE_BACKWARD_H_

#include "grid.h"

namespace lstm_oracle {

// --- the recurrence ------------------------------------------------------------------------------

template <class T>
class Backward {
 public:
  Layout<T> at;
  PerGate<T> U;         // (H, H)
  const T* c0;          // (B, H)
  const uint8_t* mask;  // (B, T), or null
  const T* z;           // as Forward has left them
  const T* c;
  const T* d_y;         // (B, T, H)
  const T* d_h_T;       // (B, H)
  const T* d_c_T;       // (B, H)
  T* d_Z;               // like z, and may be z
  T* d_h0;              // (B, H)
  T* d_c0;              // (B, H)

  void run(Team& team, int threads) {
    const Grid wanted = grid_now(at, team, threads);
    const size_t U_room = size_t(at.blocks()) * at.GL * at.padded();
    const size_t state_room = at.c_at(1, 0, 0);
    Scratch scratch(Scratch::room<T>(U_room) + 3 * Scratch::room<T>(state_room) +
                    RealRowsOfParts<T>::room(at, wanted));
    U_packed_ = scratch.take<T>(U_room);
    c_start_ = scratch.take<T>(state_room);
    d_h_ = scratch.take<T>(state_room);
    d_c_ = scratch.take<T>(state_room);
    const RealRowsOfParts<T> real(at, wanted, scratch);
    if (d_Z != z) prefer_huge_pages(d_Z, at.z_at(at.steps, 0, 0) * sizeof(T));

    Barriers barriers(wanted);
    team.run(wanted.members(), at.flops(at.hidden), [&](int rank, int members) {
      const Grid grid = grid_of(wanted, members);
      const Part part = part_of(at, grid, rank);
      pack_transposed(at, U, at.hidden, share(panels(at.blocks()), rank, members), U_packed_);
      real.fill(mask, part);
      begin(part);
      if (members > 1) barriers.everyone.wait();
      const RealRows rows = real.of(part);
      for (int t = at.steps - 1; t >= 0; --t) {
        for (int j = part.blocks.begin; j < part.blocks.end; ++j) {
          for (int b = part.rows.begin; b < part.rows.end; ++b) cell(t, j, b);
        }
        if (grid.units > 1) barriers.of_rows[part.row_index].wait();
        recurrent_product(part, rows.of(t, t + 1));
      }
      finish(part);
    });
    barriers.judge(at, wanted, team);
  }

 private:
  T* U_packed_;  // transposed
  T* c_start_;   // (Hb, B, L)
  T* d_h_;
  T* d_c_;

  static int panels(int blocks) { return ceil_div(blocks, kPanel); }

  void begin(const Part& part) {
    for (int j = part.blocks.begin; j < part.blocks.end; ++j) {
      for (int b = part.rows.begin; b < part.rows.end; ++b) {
        const size_t from = size_t(b) * at.hidden + j * at.L, to = at.c_at(0, j, b);
        store(c_start_ + to, load_first(c0 + from, at.lanes(j)));
        store(d_h_ + to, load_first(d_h_T + from, at.lanes(j)));
        store(d_c_ + to, load_first(d_c_T + from, at.lanes(j)));
      }
    }
  }

  void finish(const Part& part) {
    for (int j = part.blocks.begin; j < part.blocks.end; ++j) {
      for (int b = part.rows.begin; b < part.rows.end; ++b) {
        const size_t to = size_t(b) * at.hidden + j * at.L, from = at.c_at(0, j, b);
        store_first(d_h0 + to, load(d_h_ + from), at.lanes(j));
        store_first(d_c0 + to, load(d_c_ + from), at.lanes(j));
      }
    }
  }

  // d_h of this step becomes d_z, and what of it reaches the step before on its own.
  LSTM_ORACLE_INLINE void cell(int t, int j, int b) {
    constexpr int L = Layout<T>::L;
    const size_t here = at.z_at(t, j, b), unit = at.c_at(0, j, b);
    const Vector<T> d_h =
        load(d_h_ + unit) + load_first(d_y + at.row(t, b, at.hidden) + j * L, at.lanes(j));
    if (mask != nullptr && !mask[at.row(t, b, 1)]) {
      for (int k = 0; k < kGates; ++k) store(d_Z + here + k * L, Vector<T>{});
      store(d_h_ + unit, d_h);
      return;
    }
    const Activated<T> i = sigmoid<T>(load(z + here + kI * L));
    const Activated<T> f = sigmoid<T>(load(z + here + kF * L));
    const Activated<T> g = tanh<T>(load(z + here + kG * L));
    const Activated<T> o = sigmoid<T>(load(z + here + kO * L));
    const Activated<T> c_out = tanh<T>(load(c + at.c_at(t, j, b)));
    const Vector<T> c_before = load(t == 0 ? c_start_ + unit : c + at.c_at(t - 1, j, b));
    const Vector<T> d_c = load(d_c_ + unit) + d_h * o.value * c_out.slope;
    store(d_Z + here + kI * L, d_c * g.value * i.slope);
    store(d_Z + here + kF * L, d_c * c_before * f.slope);
    store(d_Z + here + kG * L, d_c * i.value * g.slope);
    store(d_Z + here + kO * L, d_h * c_out.value * o.slope);
    store(d_c_ + unit, d_c * f.value);
    store(d_h_ + unit, Vector<T>{});
  }

  // d_h += d_z @ U^T, for this part's units.
  void recurrent_product(const Part& part, RealRows::List real) {
    // As much of a panel of U as stays in the second-level cache beside the rows of d_z.
    constexpr int kBlocksAtOnce = 4;
    const int first = part.blocks.begin / kPanel, last = panels(part.blocks.end);
    for (int p = first; p < last; ++p) {
      with_vectors(std::min(kPanel, at.blocks() - p * kPanel), [&](auto V) {
        const T* const panel = U_packed_ + size_t(p) * at.blocks() * at.GL * kPanel * at.L;
        for (int begin = 0; begin < at.blocks(); begin += kBlocksAtOnce) {
          const int end = std::min(at.blocks(), begin + kBlocksAtOnce);
          for_row_groups({0, real.size}, [&](auto R, int n) {
            tile<R, V>(panel, p, real.rows + n, begin, end);
          });
        }
      });
    }
  }

  template <int R, int V>
  LSTM_ORACLE_INLINE void tile(const T* panel, int p, const Row* rows, int begin, int end) {
    Vector<T> acc[R][V] = {};
    for (int j = begin; j < end; ++j) {
      const T* from[R];
      for (int r = 0; r < R; ++r) from[r] = d_Z + at.z_at(rows[r].t, j, rows[r].b);
      multiply<V, 1, 1>(acc, from, at.GL, panel + size_t(j) * at.GL * V * at.L);
    }
    for (int r = 0; r < R; ++r) {
      T* const to = d_h_ + at.c_at(0, p * kPanel, rows[r].b);
      for (int v = 0; v < V; ++v) {
        T* const to_v = to + at.c_at(0, v, 0);
        store(to_v, load(to_v) + acc[r][v]);
      }
    }
  }
};

// --- d_x -----------------------------------------------------------------------------------------

// d_x = d_Z @ W^T.
template <class T>
class InputGradient {
 public:
  Layout<T> at;
  PerGate<T> W;  // (I, H)
  const T* d_Z;
  T* d_x;        // (B, T, I)

  void run(Team& team, int threads) {
    const int rows = at.steps * at.batch;
    const double flops = at.flops(at.inputs);
    const int wanted = flops < 1e6 ? 1 : std::min(threads, ceil_div(rows, kMaxRows));
    const int panels = ceil_div(at.inputs, kPanel * at.L);
    const size_t room = size_t(at.blocks()) * at.GL * ceil_div(at.inputs, at.L) * at.L;
    Scratch scratch(Scratch::room<T>(room));
    W_packed_ = scratch.take<T>(room);
    prefer_huge_pages(d_x, at.row(0, at.batch, at.inputs) * sizeof(T));
    Barrier packed;
    packed.set(wanted);
    team.run(wanted, flops, [&](int rank, int members) {
      pack_transposed(at, W, at.inputs, share(panels, rank, members), W_packed_);
      if (members > 1) packed.wait();
      const Range own = share(rows, rank, members, kMaxRows);
      for (int row = own.begin; row < own.end; row += kRowsAtOnce) {
        some_rows({row, std::min(own.end, row + kRowsAtOnce)});
      }
    });
  }

 private:
  static constexpr int kRowsAtOnce = 16 * kMaxRows;
  static constexpr int kBlocksAtOnce = 4;
  T* W_packed_;  // transposed

  void some_rows(Range rows) {
    for (int begin = 0; begin < at.blocks(); begin += kBlocksAtOnce) {
      const Range blocks{begin, std::min(at.blocks(), begin + kBlocksAtOnce)};
      for (int first = 0; first < at.inputs; first += kPanel * at.L) {
        with_vectors(std::min(kPanel, ceil_div(at.inputs - first, at.L)), [&](auto V) {
          const T* const panel = W_packed_ + size_t(at.blocks()) * at.GL * first;
          for_row_groups(rows, [&](auto R, int row) { tile<R, V>(panel, first, row, blocks); });
        });
      }
    }
  }

  template <int R, int V>
  LSTM_ORACLE_INLINE void tile(const T* panel, int first, int row, Range blocks) {
    Vector<T> acc[R][V] = {};
    T* to[R];
    const T* rows[R];
    for (int r = 0; r < R; ++r) {
      const int t = (row + r) / at.batch, b = (row + r) % at.batch;
      to[r] = d_x + at.row(t, b, at.inputs) + first;
      rows[r] = d_Z + at.z_at(t, 0, b);
    }
    for (int j = blocks.begin; j < blocks.end; ++j) {
      const T* from[R];
      for (int r = 0; r < R; ++r) from[r] = rows[r] + at.z_at(0, j, 0);
      multiply<V, 1, 1>(acc, from, at.GL, panel + size_t(j) * at.GL * V * at.L);
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) {
        T* const to_v = to[r] + v * at.L;
        const int lanes = at.inputs - first - v * at.L;
        const Vector<T> before = blocks.begin == 0 ? Vector<T>{} : load_first(to_v, lanes);
        store_first(to_v, before + acc[r][v], lanes);
      }
    }
  }
};

// --- d_W, d_U, d_b -------------------------------------------------------------------------------

// [x, h_{t-1}, 1]^T @ d_Z over all steps: d_W, d_U and d_b are one product.
template <class T>
class WeightGradients {
 public:
  Layout<T> at;
  const T* x;           // (B, T, I)
  const T* y;           // (B, T, H)
  const T* h0;          // (B, H)
  const uint8_t* mask;  // (B, T), or null
  const T* d_Z;
  std::array<T*, kGates> d_W, d_U, d_b;

  void run(Team& team, int threads) {
    const int M = at.inputs + at.hidden + 1;
    const double flops = at.flops(M);
    const int by_blocks = std::min(threads, at.blocks());
    const Grid wanted = flops < 1e6 ? Grid{1, 1} : Grid{std::max(1, threads / by_blocks), by_blocks};
    groups_ = ceil_div(M, kMaxRows);
    // Equal turns: each of them reads all of d_Z.
    groups_at_once_ = ceil_div(groups_, ceil_div(groups_, kMostGroupsAtOnce));
    const size_t rows_room = size_t(groups_at_once_) * kMaxRows * kDepth;
    const size_t panel_room = size_t(kDepth) * at.GL;
    const size_t row_room = size_t(groups_) * kMaxRows;
    const size_t every = size_t(at.steps) * at.batch;
    Scratch scratch(2 * Scratch::room<T>(rows_room) +
                    wanted.members() * (Scratch::room<T>(panel_room) + Scratch::room<T>(row_room)) +
                    Scratch::room<Row>(every) + Scratch::room<int32_t>(at.steps + 1));
    rows_[0] = scratch.take<T>(rows_room);
    rows_[1] = scratch.take<T>(rows_room);
    std::vector<Own> own(wanted.members());
    for (Own& one : own) one = {scratch.take<T>(panel_room), scratch.take<T>(row_room)};
    RealRows real(scratch.take<Row>(every), scratch.take<int32_t>(at.steps + 1));
    real.fill(at, mask, {0, at.batch});
    real_ = real.of(0, at.steps);
    Barrier packed;
    packed.set(wanted.members());
    team.run(wanted.members(), flops, [&](int rank, int members) {
      work(own[rank], grid_of(wanted, members), rank, packed);
    });
  }

 private:
  static constexpr int kDepth = 1024 / int(sizeof(T));   // rows of d_Z at once
  static constexpr int kMostGroupsAtOnce = 768 / kMaxRows;  // of columns of [x, h, 1]
  struct Own {
    T* panel;  // (kDepth, 4, L) of d_Z
    T* row;    // [x, h_{t-1}, 1, 0...] of one step and sequence
  };
  int groups_, groups_at_once_;
  RealRows::List real_{};  // a masked row adds nothing
  T* rows_[2];  // (groups, kDepth, kMaxRows): being packed, being used

  void work(Own own, Grid grid, int rank, Barrier& packed) {
    const Range blocks = share(at.blocks(), rank % grid.units, grid.units);
    int turn = 0;
    for (int first = 0; first < groups_; first += groups_at_once_) {
      const Range groups{first, std::min(groups_, first + groups_at_once_)};
      const Range share_of = share(groups.size(), rank / grid.units, grid.rows);
      const Range mine{first + share_of.begin, first + share_of.end};
      // Once even where nothing is real: zeros have to be written.
      for (int begin = 0; begin == 0 || begin < real_.size; begin += kDepth, ++turn) {
        const Range steps{begin, std::min(real_.size, begin + kDepth)};
        T* const rows = rows_[turn & 1];
        pack_rows(own, groups, steps, share(steps.size(), rank, grid.members()), rows);
        if (grid.members() > 1) packed.wait();
        for (int j = blocks.begin; j < blocks.end; ++j) {
          pack_panel(own, j, steps);
          for (int n = mine.begin; n < mine.end; ++n) {
            const Range soon = share(steps.size(), n - mine.begin, mine.size());
            if (j + 1 < blocks.end) prefetch_panel(j + 1, soon.begin + steps.begin, soon.size());
            tile(own.panel, rows + size_t(n - first) * kDepth * kMaxRows, n, j, steps);
          }
        }
      }
    }
  }

  void pack_rows(Own own, Range groups, Range steps, Range mine, T* rows) {
    const int I = at.inputs, H = at.hidden;
    std::fill(own.row + I + H, own.row + size_t(groups_) * kMaxRows, T(0));
    own.row[I + H] = 1;
    for (int n = mine.begin; n < mine.end; ++n) {
      const auto [t, b] = real_.rows[steps.begin + n];
      const T* const before = t == 0 ? h0 + size_t(b) * H : y + at.row(t - 1, b, H);
      std::memcpy(own.row, x + at.row(t, b, I), I * sizeof(T));
      std::memcpy(own.row + I, before, H * sizeof(T));
      for (int g = groups.begin; g < groups.end; ++g) {
        std::memcpy(rows + (size_t(g - groups.begin) * kDepth + n) * kMaxRows,
                    own.row + size_t(g) * kMaxRows, kMaxRows * sizeof(T));
      }
    }
  }

  const T* d_Z_of(int n, int j) const { return d_Z + at.z_at(real_.rows[n].t, j, real_.rows[n].b); }

  void pack_panel(Own own, int j, Range steps) {
    for (int n = steps.begin; n < steps.end; ++n) {
      std::memcpy(own.panel + size_t(n - steps.begin) * at.GL, d_Z_of(n, j), at.GL * sizeof(T));
    }
  }

  // A part of what pack_panel will read: its memory is far, and the tiles leave time to fetch it.
  void prefetch_panel(int j, int first, int count) const {
    for (int n = first; n < first + count; ++n) {
      const T* const from = d_Z_of(n, j);
      for (int k = 0; k < kGates; ++k) __builtin_prefetch(from + k * at.L, 0, 2);
    }
  }

  // Row m of [d_W; d_U; d_b] of gate k, at a block's first unit.
  T* target(int m, int k, int j) const {
    if (m < at.inputs) return d_W[k] + size_t(m) * at.hidden + j * at.L;
    if (m < at.inputs + at.hidden) return d_U[k] + size_t(m - at.inputs) * at.hidden + j * at.L;
    return d_b[k] + j * at.L;
  }

  void tile(const T* panel, const T* rows, int group, int j, Range steps) {
    constexpr int R = kMaxRows;
    const int first = group * R, last = std::min(first + R, at.inputs + at.hidden + 1);
    const T* from[R];
    Vector<T> acc[R][kGates];
    for (int r = 0; r < R; ++r) {
      from[r] = rows + r;
      for (int k = 0; k < kGates; ++k) {
        acc[r][k] = Vector<T>{};
        if (first + r < last) __builtin_prefetch(target(first + r, k, j), 1);
      }
    }
    multiply<kGates, 1, R>(acc, from, steps.size(), panel);
    // Sums of sums: over thousands of rows they round less than one long sum.
    for (int r = 0; r < R; ++r) {
      if (first + r >= last) break;
      for (int k = 0; k < kGates; ++k) {
        T* const to = target(first + r, k, j);
        const Vector<T> so_far =
            steps.begin > 0 ? load_first(to, at.lanes(j)) : Vector<T>{};
        store_first(to, so_far + acc[r][k], at.lanes(j));
      }
    }
  }
};

}  // namespace lstm_oracle

#endif  // LSTM_ORACLE_BACKWARD_H_
