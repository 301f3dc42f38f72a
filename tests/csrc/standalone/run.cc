// Calls the kernel of a case, with a runner for each kind.
#include "case.h"
#include "packing/pack.h"
#include "system/buffer.h"
#include "system/error.h"

namespace qwen3cpu::check {
namespace {

constexpr float kUntouched = 12345.678f;  // the contents of output buffers before the call

// A copy on a 64-byte boundary with `slack` bytes of 0x7f behind it, which would show in every sum.
class Aligned {
 public:
  explicit Aligned(const Bytes& bytes, int64_t slack = 0) {
    const auto n = static_cast<int64_t>(bytes.size());
    data_.reserve(n + slack + 1);
    if (n > 0) std::memcpy(data_.get(), bytes.data(), bytes.size());
    std::memset(data_.get() + n, 0x7f, static_cast<size_t>(slack));
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  Bytes take(int64_t n) { return Bytes(data_.get(), data_.get() + n); }

 private:
  Buffer<uint8_t> data_;
};

Bytes untouched(int64_t floats) { return to_bytes(std::vector<float>(static_cast<size_t>(floats), kUntouched)); }

// shape: rows, cols, tokens, first tile, tiles, first token, tokens of the call, ldy
// inputs: packed, then x or (q, scale, sum)
std::vector<Output> run_matmul(const IsaTable& isa, const Case& c) {
  const Format format = parse_format(c.name);
  const auto n = [&](int i) { return static_cast<int>(c.shape[static_cast<size_t>(i)]); };
  Aligned packed(c.inputs[0]);
  const Matrix w{format, n(0), n(1), packed.as<uint8_t>()};
  Activations x;
  x.stride = static_cast<int>(round_up(n(1), kGroup));
  std::vector<Aligned> arrays;
  for (size_t i = 1; i < c.inputs.size(); ++i) arrays.emplace_back(c.inputs[i], 2 * kActivationSlack);
  if (activation_of(format) == Activation::f32) {
    x.f32 = arrays[0].as<float>();
  } else {
    x.scales = ceil_div(n(1), scale_columns(activation_of(format)));
    x.q = arrays[0].as<int8_t>();
    x.scale = arrays[1].as<float>();
    x.sum = arrays[2].as<int16_t>();
  }
  const int64_t ldy = c.shape[7], floats = int64_t{n(6)} * ldy + 1;
  Aligned y(untouched(floats));
  Buffer<uint8_t> scratch;
  scratch.reserve(matmul_scratch_bytes(n(1)));
  // y + 1: rows of y need not be aligned
  isa.formats[static_cast<int>(format)].matmul(w, n(3), n(4), x, n(5), n(6), y.as<float>() + 1, ldy, scratch.get());
  return {{true, y.take(floats * 4)}};
}

// shape: rows, padded head_dim; inputs: q, keys, values, counts (int32), state, out
std::vector<Output> run_attend(const IsaTable& isa, const Case& c) {
  const int rows = static_cast<int>(c.shape[0]), dim = static_cast<int>(c.shape[1]);
  Aligned q(c.inputs[0]), k(c.inputs[1]), v(c.inputs[2]), count(c.inputs[3]), state(c.inputs[4]), out(c.inputs[5]);
  Buffer<uint8_t> scratch;
  scratch.reserve(attend_scratch_bytes(dim));
  isa.kv[static_cast<int>(parse_kv_format(c.name))].attend(q.as<float>(), k.as<void>(), v.as<void>(), count.as<int>(),
                                                           rows, dim, state.as<SoftmaxState>(), out.as<float>(),
                                                           scratch.get(), nullptr);
  return {{true, state.take(int64_t{rows} * 8)}, {true, out.take(int64_t{rows} * dim * 4)}};
}

// shape: slot, padded head_dim; inputs: key, value, planes of keys and values before
std::vector<Output> run_store(const IsaTable& isa, const Case& c) {
  Aligned key(c.inputs[0]), value(c.inputs[1]), k(c.inputs[2]), v(c.inputs[3]);
  const auto bytes = static_cast<int64_t>(c.inputs[2].size());
  isa.kv[static_cast<int>(parse_kv_format(c.name))].store(key.as<float>(), value.as<float>(),
                                                          static_cast<int>(c.shape[0]), static_cast<int>(c.shape[1]),
                                                          k.as<void>(), v.as<void>());
  return {{false, k.take(bytes)}, {false, v.take(bytes)}};
}

// shape: n; inputs: x, weight, eps
std::vector<Output> run_rms_norm(const IsaTable& isa, const Case& c) {
  Aligned x(c.inputs[0]), weight(c.inputs[1]), out(untouched(c.shape[0] + 1));
  isa.ops.rms_norm(x.as<float>(), weight.as<float>(), from_bytes<float>(c.inputs[2])[0], static_cast<int>(c.shape[0]),
                   out.as<float>());
  return {{true, out.take(4 * (c.shape[0] + 1))}};
}

// shape: half; inputs: x, cos, sin
std::vector<Output> run_rope(const IsaTable& isa, const Case& c) {
  Aligned x(c.inputs[0]), cos(c.inputs[1]), sin(c.inputs[2]);
  isa.ops.rope(x.as<float>(), cos.as<float>(), sin.as<float>(), static_cast<int>(c.shape[0]));
  return {{true, x.take(8 * c.shape[0])}};
}

// shape: n; inputs: gate, up
std::vector<Output> run_silu_mul(const IsaTable& isa, const Case& c) {
  Aligned gate(c.inputs[0]), up(c.inputs[1]), out(untouched(c.shape[0] + 1));
  isa.ops.silu_mul(gate.as<float>(), up.as<float>(), static_cast<int>(c.shape[0]), out.as<float>());
  return {{true, out.take(4 * (c.shape[0] + 1))}};
}

// shape: cols; inputs: x
std::vector<Output> run_quantize(const IsaTable& isa, const Case& c) {
  const int cols = static_cast<int>(c.shape[0]), stride = static_cast<int>(round_up(cols, kGroup));
  const bool fine = c.name == "i8g32";
  const int64_t scales = ceil_div(cols, fine ? 32 : 256), sums = stride / kGroup;
  Aligned x(c.inputs[0]), q(Bytes(static_cast<size_t>(stride), 0x55));
  Aligned scale(untouched(scales)), sum(Bytes(static_cast<size_t>(2 * sums), 0x55));
  const auto quantize = fine ? isa.ops.quantize_i8g32 : isa.ops.quantize_i8g256;
  quantize(x.as<float>(), cols, stride, q.as<int8_t>(), scale.as<float>(), sum.as<int16_t>());
  return {{false, q.take(stride)}, {true, scale.take(4 * scales)}, {false, sum.take(2 * sums)}};
}

// shape: n; inputs: u, importance, row scales, weights
std::vector<Output> run_round(const IsaTable& isa, const Case& c) {
  const auto n = static_cast<int>(c.shape[0]);
  const int64_t weights = int64_t{n} * kRoundRows, groups = weights / kGroup;
  Aligned u(c.inputs[0]), importance(c.inputs[1]), row_scale(c.inputs[2]), w(c.inputs[3]);
  Aligned q(Bytes(static_cast<size_t>(weights), 0x55)), scale(Bytes(static_cast<size_t>(groups), 0x55));
  Aligned zero(Bytes(static_cast<size_t>(groups), 0x55));
  isa.ops.round_q4({n, u.as<float>(), importance.as<float>()}, row_scale.as<float>(), w.as<float>(), q.as<int8_t>(),
                   scale.as<int8_t>(), zero.as<int8_t>());
  return {
      {false, q.take(weights)}, {false, scale.take(groups)}, {false, zero.take(groups)}, {true, w.take(weights * 4)}};
}

// shape: rows, cols; inputs: weights. Packing has no kernels of its own: `isa` does not matter, the machine does.
std::vector<Output> run_pack(const IsaTable&, const Case& c) {
  const Format format = parse_format(c.name);
  const int rows = static_cast<int>(c.shape[0]), cols = static_cast<int>(c.shape[1]);
  Aligned weights(c.inputs[0]), packed(Bytes(static_cast<size_t>(matrix_bytes(format, rows, cols)), 0xa5));
  const Matrix w{format, rows, cols, packed.as<uint8_t>()};
  if (pack_tiles(format, rows, cols, Source::f32, weights.as<float>(), 0, w.tiles(), packed.as<uint8_t>()))
    throw Error("a weight of " + c.kind + " cannot be packed as " + c.name);
  std::vector<float> back(static_cast<size_t>(rows) * static_cast<size_t>(cols));
  for (int row = 0; row < rows; ++row) row_to_float(w, row, back.data() + int64_t{row} * cols);
  return {{false, packed.take(matrix_bytes(format, rows, cols))}, {true, to_bytes(back)}};
}

}  // namespace

std::vector<Output> run(const IsaTable& isa, const Case& c) {
  using Runner = std::vector<Output>(const IsaTable&, const Case&);
  const std::pair<const char*, Runner*> runners[] = {
      {"matmul", run_matmul},     {"attend", run_attend}, {"store", run_store},
      {"rms_norm", run_rms_norm}, {"rope", run_rope},     {"silu_mul", run_silu_mul},
      {"quantize", run_quantize}, {"round", run_round},   {"pack", run_pack},
  };
  for (const auto& [kind, runner] : runners)
    if (c.kind == kind) return runner(isa, c);
  throw Error("unknown kind of case \"" + c.kind + "\"");
}

}  // namespace qwen3cpu::check
