// Calls a single kernel from Python in the same way as the engine: in a team, with denormals flushed to zero, without
// the GIL.
#pragma once

#include <chrono>
#include <initializer_list>
#include <string>
#include <tuple>

#include "bindings/arrays.h"
#include "layout/format.h"
#include "system/buffer.h"
#include "system/error.h"
#include "system/parallel.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace qwen3cpu::kernel_calls {

namespace py = pybind11;

inline void require(bool ok, const std::string& what) {
  if (!ok) throw Error("kernels: " + what);
}

template <class T>
void require_shape(const Array<T>& a, std::initializer_list<int64_t> shape, const char* name) {
  bool same = a.ndim() == static_cast<py::ssize_t>(shape.size());
  int i = 0;
  std::string wanted;
  for (const int64_t n : shape) {
    same = same && a.shape(i++) == n;
    wanted += (wanted.empty() ? "" : ", ") + std::to_string(n);
  }
  require(same, std::string(name) + ": expected shape (" + wanted + "), found " +
                    std::string(py::str(py::object(a.attr("shape")))));
}

// The CPU's time stamp counter; 0 where it has none.
inline uint64_t ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return 0;
#endif
}

using Timing = std::tuple<double, uint64_t>;  // seconds, ticks

template <class Run>
Timing timed(Run&& run) {
  const auto start = std::chrono::steady_clock::now();
  const uint64_t first_tick = ticks();
  run();
  const uint64_t passed = ticks() - first_tick;
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), passed};
}

// Runs body() `repeats` times in one thread under the engine's floating-point mode and without the GIL.
template <class Body>
Timing run_alone(int repeats, Body&& body) {
  py::gil_scoped_release release;
  return timed([&] {
    run_team(1, [&](Team&) {
      for (int i = 0; i < repeats; ++i) body();
    });
  });
}

struct Scratch {
  explicit Scratch(int64_t bytes) { buffer.reserve(bytes); }
  uint8_t* get() { return buffer.get(); }
  Buffer<uint8_t> buffer;
};

}  // namespace qwen3cpu::kernel_calls
