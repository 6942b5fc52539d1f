// The kernels as XLA calls them.
//
// Operands may have leading dimensions, of jax.vmap, each of which is 1 or the number of cases.

#include <array>
#include <exception>
#include <string>
#include <vector>

#include "backward.h"
#include "forward.h"
#include "xla/ffi/api/ffi.h"

namespace lstm_oracle {
namespace {

namespace ffi = xla::ffi;

using Dims = std::vector<int64_t>;

// A buffer of one or many cases.
class Operand {
 public:
  Operand(const ffi::AnyBuffer& buffer, size_t rank)
      : data_(static_cast<char*>(buffer.untyped_data())) {
    const auto dims = buffer.dimensions();
    const size_t cases = dims.size() - rank;
    cases_.assign(dims.begin(), dims.begin() + cases);
    shape_.assign(dims.begin() + cases, dims.end());
    bytes_ = ffi::ByteWidth(buffer.element_type());
    for (int64_t n : shape_) bytes_ *= n;
  }

  const Dims& cases() const { return cases_; }
  const Dims& shape() const { return shape_; }

  // Of the case of that number, where all of them count as `cases`.
  template <class T>
  T* of(int64_t number, const Dims& cases) const {
    int64_t offset = 0, step = 1;
    for (size_t d = cases.size(); d-- > 0;) {
      if (cases_[d] != 1) {
        offset += number % cases[d] * step;
        step *= cases_[d];
      }
      number /= cases[d];
    }
    return reinterpret_cast<T*>(data_ + offset * bytes_);
  }

 private:
  char* data_;
  Dims cases_, shape_;
  size_t bytes_;
};

// The operands and results of a call, by number.
class Call {
 public:
  Call(ffi::RemainingArgs args, ffi::RemainingRets rets, const std::vector<size_t>& arg_ranks,
       const std::vector<size_t>& ret_ranks) {
    for (size_t n = 0; n < args.size(); ++n) {
      args_.emplace_back(args.get<ffi::AnyBuffer>(n).value(), arg_ranks[n]);
    }
    for (size_t n = 0; n < rets.size(); ++n) {
      rets_.emplace_back(*rets.get<ffi::AnyBuffer>(n).value(), ret_ranks[n]);
    }
    // Every result has all the cases.
    cases_ = rets_[0].cases();
  }

  int64_t count() const {
    int64_t count = 1;
    for (int64_t n : cases_) count *= n;
    return count;
  }
  const Operand& arg(size_t n) const { return args_[n]; }

  template <class T>
  const T* in(size_t n, int64_t number) const {
    return n < args_.size() ? args_[n].of<T>(number, cases_) : nullptr;
  }
  template <class T>
  std::array<const T*, kGates> in_per_gate(size_t n, int64_t number) const {
    return {in<T>(n, number), in<T>(n + 1, number), in<T>(n + 2, number), in<T>(n + 3, number)};
  }
  template <class T>
  T* out(size_t n, int64_t number) const {
    return n < rets_.size() ? rets_[n].of<T>(number, cases_) : nullptr;
  }
  template <class T>
  std::array<T*, kGates> out_per_gate(size_t n, int64_t number) const {
    return {out<T>(n, number), out<T>(n + 1, number), out<T>(n + 2, number),
            out<T>(n + 3, number)};
  }

 private:
  std::vector<Operand> args_, rets_;
  Dims cases_;
};

// --- the four calls ------------------------------------------------------------------------------

struct ForwardCall {
  // x, W, U, b of four gates each, h0, c0, mask if any; y, h_T, c_T, and z, c if they are kept.
  static std::vector<size_t> arg_ranks() {
    return {3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2};
  }
  static std::vector<size_t> ret_ranks() { return {3, 2, 2, 5, 4}; }

  template <class T>
  static void run(const Call& call, Team& team, int threads) {
    const Dims &x = call.arg(0).shape(), &W = call.arg(1).shape();
    for (int64_t n = 0; n < call.count(); ++n) {
      Forward<T> forward;
      forward.at = {int(x[1]), int(x[0]), int(x[2]), int(W[1])};
      forward.x = call.in<T>(0, n);
      forward.W = call.in_per_gate<T>(1, n);
      forward.U = call.in_per_gate<T>(5, n);
      forward.b = call.in_per_gate<T>(9, n);
      forward.h0 = call.in<T>(13, n);
      forward.c0 = call.in<T>(14, n);
      forward.mask = call.in<uint8_t>(15, n);
      forward.y = call.out<T>(0, n);
      forward.h_T = call.out<T>(1, n);
      forward.c_T = call.out<T>(2, n);
      forward.z = call.out<T>(3, n);
      forward.c = call.out<T>(4, n);
      forward.run(team, threads);
    }
  }
};

struct BackwardCall {
  // U of four gates, c0, z, c, d_y, d_h_T, d_c_T, mask if any; d_Z, d_h0, d_c0.
  static std::vector<size_t> arg_ranks() { return {2, 2, 2, 2, 2, 5, 4, 3, 2, 2, 2}; }
  static std::vector<size_t> ret_ranks() { return {5, 2, 2}; }

  template <class T>
  static void run(const Call& call, Team& team, int threads) {
    const Dims& d_y = call.arg(7).shape();
    for (int64_t n = 0; n < call.count(); ++n) {
      Backward<T> backward;
      backward.at = {int(d_y[1]), int(d_y[0]), 0, int(d_y[2])};
      backward.U = call.in_per_gate<T>(0, n);
      backward.c0 = call.in<T>(4, n);
      backward.z = call.in<T>(5, n);
      backward.c = call.in<T>(6, n);
      backward.d_y = call.in<T>(7, n);
      backward.d_h_T = call.in<T>(8, n);
      backward.d_c_T = call.in<T>(9, n);
      backward.mask = call.in<uint8_t>(10, n);
      backward.d_Z = call.out<T>(0, n);
      backward.d_h0 = call.out<T>(1, n);
      backward.d_c0 = call.out<T>(2, n);
      backward.run(team, threads);
    }
  }
};

struct InputGradientCall {
  // d_Z, W of four gates; d_x.
  static std::vector<size_t> arg_ranks() { return {5, 2, 2, 2, 2}; }
  static std::vector<size_t> ret_ranks() { return {3}; }

  template <class T>
  static void run(const Call& call, Team& team, int threads) {
    const Dims &d_Z = call.arg(0).shape(), &W = call.arg(1).shape();
    for (int64_t n = 0; n < call.count(); ++n) {
      InputGradient<T> gradient;
      gradient.at = {int(d_Z[0]), int(d_Z[2]), int(W[0]), int(W[1])};
      gradient.d_Z = call.in<T>(0, n);
      gradient.W = call.in_per_gate<T>(1, n);
      gradient.d_x = call.out<T>(0, n);
      gradient.run(team, threads);
    }
  }
};

struct WeightGradientsCall {
  // d_Z, x, y, h0, mask if any; d_W, d_U, d_b of four gates each.
  static std::vector<size_t> arg_ranks() { return {5, 3, 3, 2, 2}; }
  static std::vector<size_t> ret_ranks() { return {2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1}; }

  template <class T>
  static void run(const Call& call, Team& team, int threads) {
    const Dims &x = call.arg(1).shape(), &y = call.arg(2).shape();
    for (int64_t n = 0; n < call.count(); ++n) {
      WeightGradients<T> gradients;
      gradients.at = {int(x[1]), int(x[0]), int(x[2]), int(y[2])};
      gradients.d_Z = call.in<T>(0, n);
      gradients.x = call.in<T>(1, n);
      gradients.y = call.in<T>(2, n);
      gradients.h0 = call.in<T>(3, n);
      gradients.mask = call.in<uint8_t>(4, n);
      gradients.d_W = call.out_per_gate<T>(0, n);
      gradients.d_U = call.out_per_gate<T>(4, n);
      gradients.d_b = call.out_per_gate<T>(8, n);
      gradients.run(team, threads);
    }
  }
};

// The activations alone, for whoever wants to measure their accuracy.
struct ActivationsCall {
  // z; sigma(z), sigma(z) sigma(-z), tanh(z), sech^2(z).
  static std::vector<size_t> arg_ranks() { return {1}; }
  static std::vector<size_t> ret_ranks() { return {1, 1, 1, 1}; }

  template <class T>
  static void run(const Call& call, Team&, int) {
    const int64_t size = call.arg(0).shape()[0];
    for (int64_t n = 0; n < call.count(); ++n) {
      for (int64_t at = 0; at < size; at += kLanes<T>) {
        const int lanes = int(std::min<int64_t>(size - at, kLanes<T>));
        const Vector<T> z = load_first(call.in<T>(0, n) + at, lanes);
        const Activated<T> gate = sigmoid<T>(z), candidate = tanh<T>(z);
        store_first(call.out<T>(0, n) + at, gate.value, lanes);
        store_first(call.out<T>(1, n) + at, gate.slope, lanes);
        store_first(call.out<T>(2, n) + at, candidate.value, lanes);
        store_first(call.out<T>(3, n) + at, candidate.slope, lanes);
      }
    }
  }
};

// float or double: a library for each, built when it is first wanted.
using Real = LSTM_ORACLE_REAL;

template <class Kind>
ffi::Error handle(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  try {
    const Call call(args, rets, Kind::arg_ranks(), Kind::ret_ranks());
    Team& team = Team::instance();
    const int threads = team.size(int(pool.num_threads()));
    Kind::template run<Real>(call, team, threads);
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("the native LSTM: ") + error.what());
  }
}

}  // namespace

#pragma GCC visibility push(default)

#define LSTM_ORACLE_HANDLER(name, Kind)                                                        \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(                                                               \
      name, handle<Kind>,                                                                      \
      xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().RemainingArgs().RemainingRets())

LSTM_ORACLE_HANDLER(lstm_oracle_forward, ForwardCall);
LSTM_ORACLE_HANDLER(lstm_oracle_backward, BackwardCall);
LSTM_ORACLE_HANDLER(lstm_oracle_input_gradient, InputGradientCall);
LSTM_ORACLE_HANDLER(lstm_oracle_weight_gradients, WeightGradientsCall);
LSTM_ORACLE_HANDLER(lstm_oracle_activations, ActivationsCall);

}  // namespace lstm_oracle

// Threads of a call where XLA has at least as many; lanes of a vector.
extern "C" int lstm_oracle_threads() { return lstm_oracle::Team::instance().size(0); }
extern "C" int lstm_oracle_lanes() { return lstm_oracle::kLanes<LSTM_ORACLE_REAL>; }

#pragma GCC visibility pop
