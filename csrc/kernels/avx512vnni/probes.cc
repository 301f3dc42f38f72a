// The peak of VPDPBUSD in 512 bits.
#include "kernels/avx512vnni/rows.h"

namespace qwen3cpu::avx512vnni {

int64_t probes::int8(int64_t rounds) { return vnni::probe<Rows>(rounds); }

}  // namespace qwen3cpu::avx512vnni
