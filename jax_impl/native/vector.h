// Vectors as wide as the processor's, and the activations on them.
//
// GCC's and Clang's vector extensions: the same source is AVX-512, AVX2, SSE or NEON code.

#ifndef LSTM_ORACLE_VECTOR_H_
#define LSTM_ORACLE_VECTOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lstm_oracle {

#define LSTM_ORACLE_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kMaxRows = 6;  // 6 x 4 accumulators of the 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kMaxRows = 3;  // 3 x 4 of 16
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kMaxRows = 6;  // 6 x 4 of 32
#else
constexpr int kVectorBytes = 16;
constexpr int kMaxRows = 3;
#endif

template <class T>
struct VectorOf;

template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
};

template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Bits __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename VectorOf<T>::Type;
template <class T>
using Bits = typename VectorOf<T>::Bits;
template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

template <class T>
LSTM_ORACLE_INLINE Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
LSTM_ORACLE_INLINE void store(T* to, Vector<T> v) {
  std::memcpy(to, &v, sizeof v);
}

// The first n lanes, the others zero; n may be beyond the number of lanes.
template <class T>
LSTM_ORACLE_INLINE Vector<T> load_first(const T* from, int n) {
  if (n >= kLanes<T>) return load(from);
  T lanes[kLanes<T>] = {};
  for (int l = 0; l < n; ++l) lanes[l] = from[l];
  return load(lanes);
}

template <class T>
LSTM_ORACLE_INLINE void store_first(T* to, Vector<T> v, int n) {
  if (n >= kLanes<T>) return store(to, v);
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int l = 0; l < n; ++l) to[l] = lanes[l];
}

template <class T>
LSTM_ORACLE_INLINE Vector<T> all(T value) {
  return Vector<T>{} + value;
}

// --- activations ---------------------------------------------------------------------------------
//
// All of them from e^y for y <= 0: no overflow, and sigma(-z), sech^2 keep their digits in
// saturation, where 1 - sigma and 1 - tanh^2 would lose them.

template <class T>
struct ExpConstants;

// Range reduction by ln 2 in two parts and the polynomial of Cephes' expf (S. Moshier).
template <>
struct ExpConstants<float> {
  static constexpr float lowest = -87.3f;  // below, e^y would be subnormal: 0
  static constexpr float log2_e = 1.44269504088896341f;
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693359375f;
  static constexpr float ln2_low = -2.12194440e-4f;
  static constexpr int mantissa_bits = 23;
  static constexpr int bias = 127;
};

template <>
struct ExpConstants<double> {
  static constexpr double lowest = -708.0;
  static constexpr double log2_e = 1.4426950408889634074;
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93145751953125e-1;
  static constexpr double ln2_low = 1.42860682030941723212e-6;
  static constexpr int mantissa_bits = 52;
  static constexpr int bias = 1023;
};

// e^r - 1 for |r| <= ln(2)/2.
LSTM_ORACLE_INLINE Vector<float> exp_minus_1_reduced(Vector<float> r) {
  Vector<float> p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return (p * r) * r + r;
}

// Taylor's series up to r^14/14!: the rest is below 2e-19.
LSTM_ORACLE_INLINE Vector<double> exp_minus_1_reduced(Vector<double> r) {
  Vector<double> p = all(1.0 / 87178291200.0);
  p = p * r + 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  return (p * r) * r + r;
}

template <class T>
struct Exp {
  Vector<T> e;        // e^y
  Vector<T> minus_1;  // e^y - 1, accurate near y = 0
};

// For y <= 0; a NaN stays one.
template <class T>
LSTM_ORACLE_INLINE Exp<T> exp_parts(Vector<T> y) {
  using C = ExpConstants<T>;
  const Vector<T> kept = y < C::lowest ? all(C::lowest) : y;
  const Vector<T> shifted = kept * C::log2_e + C::round;
  const Vector<T> n = shifted - C::round;
  const Vector<T> r = (kept - n * C::ln2_high) - n * C::ln2_low;
  const Vector<T> p = exp_minus_1_reduced(r);
  const Bits<T> integer = (Bits<T>)shifted - (Bits<T>)all(C::round);
  const Vector<T> scale = (Vector<T>)((integer + C::bias) << C::mantissa_bits);
  const Vector<T> e = scale * p + scale;
  return {y < C::lowest ? Vector<T>{} : e, scale * p + (scale - T(1))};
}

template <class T>
LSTM_ORACLE_INLINE Vector<T> negative_magnitude(Vector<T> z) {
  return z > T(0) ? -z : z;
}

// An activation's value and derivative.
template <class T>
struct Activated {
  Vector<T> value, slope;
};

// sigma(z) and sigma(z) sigma(-z).
template <class T>
LSTM_ORACLE_INLINE Activated<T> sigmoid(Vector<T> z) {
  const Vector<T> e = exp_parts<T>(negative_magnitude<T>(z)).e;
  const Vector<T> s = T(1) / (T(1) + e);
  const Vector<T> small = e * s;
  return {z > T(0) ? s : small, small * s};
}

// tanh(z) and sech^2(z).
template <class T>
LSTM_ORACLE_INLINE Activated<T> tanh(Vector<T> z) {
  const Exp<T> parts = exp_parts<T>(T(2) * negative_magnitude<T>(z));
  const Vector<T> s = T(1) / (T(1) + parts.e);
  const Vector<T> magnitude = -parts.minus_1 * s;
  return {z > T(0) ? magnitude : -magnitude, T(4) * parts.e * s * s};
}

}  // namespace lstm_oracle

#endif  // LSTM_ORACLE_VECTOR_H_
