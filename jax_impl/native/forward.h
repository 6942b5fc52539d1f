// The forward pass: input products and recurrence.

#ifndef LSTM_ORACLE_FORWARD_H_
#define LSTM_ORACLE_FORWARD_H_

#include "grid.h"

namespace lstm_oracle {

template <class T>
class Forward {
 public:
  Layout<T> at;
  const T* x;           // (B, T, I)
  PerGate<T> W, U, b;   // (I, H), (H, H), (H,)
  const T* h0;          // (B, H)
  const T* c0;          // (B, H)
  const uint8_t* mask;  // (B, T), or null
  T* y;                 // (B, T, H): the state that each step leaves
  T* h_T;               // (B, H)
  T* c_T;               // (B, H)
  T* z;                 // of every step, for the backward pass: see Layout; or null
  T* c;                 // likewise

  void run(Team& team, int threads) {
    const Grid wanted = grid_now(at, team, threads);
    const bool keep = z != nullptr;
    chunk_ = chunk_for(wanted);
    kept_z_ = keep ? at.steps : chunk_;
    c_step_ = keep ? at.c_at(1, 0, 0) : 0;

    const size_t z_room = keep ? 0 : at.z_at(chunk_, 0, 0);
    const size_t c_room = at.c_at(1, 0, 0);
    const size_t W_room = size_t(at.blocks()) * at.inputs * at.GL;
    const size_t U_room = size_t(at.blocks()) * at.hidden * at.GL;
    const size_t b_room = size_t(at.blocks()) * at.GL;
    const size_t h_room = size_t(at.batch) * at.padded();
    Scratch scratch(Scratch::room<T>(z_room) + 2 * Scratch::room<T>(c_room) +
                    Scratch::room<T>(W_room) + Scratch::room<T>(U_room) +
                    Scratch::room<T>(b_room) + 2 * Scratch::room<T>(h_room) +
                    RealRowsOfParts<T>::room(at, wanted));
    if (keep) {
      prefer_huge_pages(z, at.z_at(at.steps, 0, 0) * sizeof(T));
      prefer_huge_pages(c, at.c_at(at.steps, 0, 0) * sizeof(T));
    } else {
      z = scratch.take<T>(z_room);
      c = scratch.take<T>(c_room);
    }
    prefer_huge_pages(y, at.row(0, at.batch, at.hidden) * sizeof(T));
    c_start_ = scratch.take<T>(c_room);
    W_packed_ = scratch.take<T>(W_room);
    U_packed_ = scratch.take<T>(U_room);
    b_packed_ = scratch.take<T>(b_room);
    h_[0] = scratch.take<T>(h_room);
    h_[1] = scratch.take<T>(h_room);
    const RealRowsOfParts<T> real(at, wanted, scratch);

    Barriers barriers(wanted);
    team.run(wanted.members(), at.flops(at.inputs + at.hidden), [&](int rank, int members) {
      const Grid grid = grid_of(wanted, members);
      const Part part = part_of(at, grid, rank);
      const Range packs = share(at.blocks(), rank, members);
      pack_gates(at, W, at.inputs, packs, W_packed_);
      pack_gates(at, U, at.hidden, packs, U_packed_);
      pack_gates(at, b, 1, packs, b_packed_);
      real.fill(mask, part);
      begin(part);
      if (members > 1) barriers.everyone.wait();
      const RealRows rows = real.of(part);
      for (int first = 0; first < at.steps; first += chunk_) {
        const int last = std::min(at.steps, first + chunk_);
        input_products(part, rows.of(first, last));
        for (int t = first; t < last; ++t) {
          step(part, t, rows.of(t, t + 1));
          if (grid.units > 1) barriers.of_rows[part.row_index].wait();
        }
      }
    });
    barriers.judge(at, wanted, team);
  }

 private:
  int chunk_;       // steps whose input products are made at once
  int kept_z_;      // steps that z has room for
  size_t c_step_;   // from one step to the next in c
  T* c_start_;      // (Hb, B, L)
  T* W_packed_;
  T* U_packed_;
  T* b_packed_;
  T* h_[2];         // (B, Hb L): of this step and of the one before

  // Enough rows to fill the tiles, few enough to find z in the cache when its step comes.
  int chunk_for(Grid grid) const {
    const int rows = ceil_div(at.batch, grid.rows);
    return std::min(at.steps, std::max(1, ceil_div(96, rows)));
  }

  T* z_of(int t, int block, int b) const { return z + at.z_at(t % kept_z_, block, b); }
  T* c_of(int t, int block, int b) const { return c + t * c_step_ + at.c_at(0, block, b); }

  void begin(const Part& part) {
    for (int b = part.rows.begin; b < part.rows.end; ++b) {
      for (int j = part.blocks.begin; j < part.blocks.end; ++j) {
        const size_t from = size_t(b) * at.hidden + j * at.L;
        store(h_[1] + size_t(b) * at.padded() + j * at.L, load_first(h0 + from, at.lanes(j)));
        store(c_start_ + at.c_at(0, j, b), load_first(c0 + from, at.lanes(j)));
      }
    }
  }

  // z = x @ W + b.
  void input_products(const Part& part, RealRows::List real) {
    for (int j = part.blocks.begin; j < part.blocks.end; ++j) {
      const T* const W_block = W_packed_ + size_t(j) * at.inputs * at.GL;
      const T* const b_block = b_packed_ + size_t(j) * at.GL;
      for_row_groups({0, real.size}, [&](auto R, int n) {
        const T* from[R];
        T* to[R];
        Vector<T> acc[R][kGates];
        for (int r = 0; r < R; ++r) {
          const Row row = real.rows[n + r];
          from[r] = x + at.row(row.t, row.b, at.inputs);
          to[r] = z_of(row.t, j, row.b);
          for (int k = 0; k < kGates; ++k) acc[r][k] = load(b_block + k * at.L);
        }
        multiply<kGates, 1, 1>(acc, from, at.inputs, W_block);
        for (int r = 0; r < R; ++r) {
          for (int k = 0; k < kGates; ++k) store(to[r] + k * at.L, acc[r][k]);
        }
      });
    }
  }

  void step(const Part& part, int t, RealRows::List real) {
    int j = part.blocks.begin;
    if (real.size == 1) {
      // One row fills the pipeline with two blocks side by side only.
      for (; j + 1 < part.blocks.end; j += 2) {
        tile<1, 2>(t, j, real.rows);
      }
    }
    for (; j < part.blocks.end; ++j) {
      for_row_groups({0, real.size}, [&](auto R, int n) { tile<R, 1>(t, j, real.rows + n); });
    }
    if (real.size < part.rows.size()) hold(part, t);
  }

  // R rows of P blocks of units.
  template <int R, int P>
  LSTM_ORACLE_INLINE void tile(int t, int j, const Row* rows) {
    const T* from[R];
    for (int r = 0; r < R; ++r) from[r] = h_[(t + 1) & 1] + size_t(rows[r].b) * at.padded();
    const size_t block = size_t(at.hidden) * at.GL;
    const T* packed = U_packed_ + j * block;
    for (int left = at.hidden; left > 0; left -= kChain, packed += kChain * at.GL) {
      const int length = std::min(left, kChain);
      Vector<T> acc[R][P * kGates] = {};
      multiply<kGates, P, 1>(acc, from, length, packed, block);
      for (int r = 0; r < R; ++r) {
        from[r] += length;
        for (int p = 0; p < P; ++p) {
          T* const z_here = z_of(t, j + p, rows[r].b);
          for (int k = 0; k < kGates; ++k) {
            store(z_here + k * at.L, load(z_here + k * at.L) + acc[r][p * kGates + k]);
          }
        }
      }
    }
#pragma GCC unroll 1
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 1
      for (int p = 0; p < P; ++p) cell(t, j + p, rows[r].b);
    }
  }

  // The state of rows whose step is masked stays.
  void hold(const Part& part, int t) {
    for (int j = part.blocks.begin; j < part.blocks.end; ++j) {
      for (int b = part.rows.begin; b < part.rows.end; ++b) {
        if (!mask[at.row(t, b, 1)]) leave(t, j, b, {h_before(t, j, b), c_before(t, j, b)});
      }
    }
  }

  LSTM_ORACLE_INLINE void cell(int t, int j, int b) {
    const T* const z_here = z_of(t, j, b);
    const Vector<T> i = sigmoid<T>(load(z_here + kI * at.L)).value;
    const Vector<T> f = sigmoid<T>(load(z_here + kF * at.L)).value;
    const Vector<T> g = tanh<T>(load(z_here + kG * at.L)).value;
    const Vector<T> o = sigmoid<T>(load(z_here + kO * at.L)).value;
    const Vector<T> c = f * c_before(t, j, b) + i * g;
    leave(t, j, b, {o * tanh<T>(c).value, c});
  }

  struct State {
    Vector<T> h, c;
  };

  size_t unit(int j, int b) const { return size_t(b) * at.padded() + j * at.L; }

  LSTM_ORACLE_INLINE Vector<T> h_before(int t, int j, int b) const {
    return load(h_[(t + 1) & 1] + unit(j, b));
  }

  LSTM_ORACLE_INLINE Vector<T> c_before(int t, int j, int b) const {
    return load(t == 0 ? c_start_ + at.c_at(0, j, b) : c_of(t - 1, j, b));
  }

  LSTM_ORACLE_INLINE void leave(int t, int j, int b, State state) {
    store(c_of(t, j, b), state.c);
    store(h_[t & 1] + unit(j, b), state.h);
    store_first(y + at.row(t, b, at.hidden) + j * at.L, state.h, at.lanes(j));
    if (t + 1 == at.steps) {
      const size_t last = size_t(b) * at.hidden + j * at.L;
      store_first(h_T + last, state.h, at.lanes(j));
      store_first(c_T + last, state.c, at.lanes(j));
    }
  }
};

}  // namespace lstm_oracle

#endif  // LSTM_ORACLE_FORWARD_H_
