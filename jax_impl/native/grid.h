// How a team divides the steps of a recurrence.

#ifndef LSTM_ORACLE_GRID_H_
#define LSTM_ORACLE_GRID_H_

#include <vector>

#include "products.h"
#include "team.h"

namespace lstm_oracle {

enum Gate { kI, kF, kG, kO };

// How a team divides the work of a step: a grid of rows of the batch by hidden units. Threads that
// share rows meet at a barrier every step; threads with rows of their own never wait.
struct Grid {
  int rows, units;
  int members() const { return rows * units; }
};

// Units are divided in panels, so that no thread's columns are narrower than a tile.
template <class T>
Grid grid_for(const Layout<T>& at, int threads) {
  // Below, waking and waiting cost more than a thread saves.
  constexpr double kFewFlopsPerCall = 2e6;
  constexpr double kFewFlopsPerStep = 1e5;
  constexpr size_t kCacheOfOneCore = size_t(512) << 10;
  const double step = 8.0 * at.batch * at.hidden * (at.hidden + at.inputs);
  const int panels = ceil_div(at.blocks(), kPanel);
  if (threads <= 1 || step * at.steps < kFewFlopsPerCall) return {1, 1};
  const bool fits = size_t(kGates) * at.hidden * at.hidden * sizeof(T) <= kCacheOfOneCore;
  const int by_rows = std::max(1, std::min(threads, at.batch / 2));
  const int by_units = step < kFewFlopsPerStep ? 1 : std::min(threads, panels);
  if (by_units == 1 || (fits && by_rows == threads)) return {by_rows, 1};
  const int rows = std::max(1, std::min(by_rows, threads / by_units));
  return {rows, by_units};
}

// A grid whose threads meet so often that one of them waiting for its core spoils the gain.
template <class T>
bool meets_often(const Layout<T>& at, Grid grid) {
  constexpr double kBriefStep = 2e7;  // floating-point operations: some 100 microseconds
  return grid.units > 1 && 8.0 * at.batch * at.hidden * (at.hidden + at.inputs) < kBriefStep;
}

// The grid for this call: one thread alone while the team rests.
template <class T>
Grid grid_now(const Layout<T>& at, Team& team, int threads) {
  const Grid grid = grid_for(at, threads);
  return meets_often(at, grid) && team.resting() ? Grid{1, 1} : grid;
}

// A thread's part of the grid.
struct Part {
  Range rows, blocks;
  int row_index;
};

template <class T>
Part part_of(const Layout<T>& at, Grid grid, int rank) {
  const int row_index = rank / grid.units;
  return {share(at.batch, row_index, grid.rows),
          share(at.blocks(), rank % grid.units, grid.units, kPanel), row_index};
}

// One row of the batch at one step.
struct Row {
  int32_t t, b;
};

// The rows of a range at their real steps, step after step. What is masked is not multiplied: a
// batch of sequences of different lengths takes the time of the steps that they have.
class RealRows {
 public:
  struct List {
    const Row* rows;
    int size;
  };

  RealRows(Row* rows, int32_t* start) : rows_(rows), start_(start) {}

  template <class T>
  void fill(const Layout<T>& at, const uint8_t* mask, Range range) {
    int count = 0;
    for (int t = 0; t < at.steps; ++t) {
      start_[t] = count;
      for (int b = range.begin; b < range.end; ++b) {
        if (mask == nullptr || mask[at.row(t, b, 1)]) rows_[count++] = {t, b};
      }
    }
    start_[at.steps] = count;
  }

  // Of steps [first, last).
  List of(int first, int last) const {
    return {rows_ + start_[first], start_[last] - start_[first]};
  }

 private:
  Row* rows_;       // of as many as there are rows at all steps
  int32_t* start_;  // of each step, and the end
};

// Memory for the real rows of every part of a grid.
template <class T>
class RealRowsOfParts {
 public:
  static size_t room(const Layout<T>& at, Grid grid) {
    return Scratch::room<Row>(size_t(at.steps) * at.batch) +
           Scratch::room<int32_t>(size_t(at.steps + 1) * grid.rows);
  }

  RealRowsOfParts(const Layout<T>& at, Grid grid, Scratch& scratch)
      : at_(at),
        rows_(scratch.take<Row>(size_t(at.steps) * at.batch)),
        start_(scratch.take<int32_t>(size_t(at.steps + 1) * grid.rows)) {}

  RealRows of(const Part& part) const {
    return {rows_ + size_t(at_.steps) * part.rows.begin,
            start_ + size_t(at_.steps + 1) * part.row_index};
  }

  // Members that share rows share their list: the first of them fills it.
  void fill(const uint8_t* mask, const Part& part) const {
    if (part.blocks.begin == 0) of(part).fill(at_, mask, part.rows);
  }

 private:
  Layout<T> at_;
  Row* rows_;
  int32_t* start_;
};

struct Barriers {
  explicit Barriers(Grid grid) : of_rows(grid.rows) {
    everyone.set(grid.members());
    for (Barrier& barrier : of_rows) barrier.set(grid.units);
  }

  // Lets the team rest after a call with many long waits.
  template <class T>
  void judge(const Layout<T>& at, Grid grid, Team& team) const {
    if (!meets_often(at, grid)) return;
    int long_waits = 0;
    for (const Barrier& barrier : of_rows) long_waits += barrier.long_waits();
    if (long_waits > 2 + at.steps / 50) team.rest();
  }

  Barrier everyone;
  std::vector<Barrier> of_rows;
};

// The first member of a team that is smaller than the grid does the whole grid's work alone.
inline Grid grid_of(Grid grid, int members) { return members == grid.members() ? grid : Grid{1, 1}; }

}  // namespace lstm_oracle

#endif  // LSTM_ORACLE_GRID_H_
