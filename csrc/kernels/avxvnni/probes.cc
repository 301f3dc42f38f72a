// The peak of VPDPBUSD in 256 bits.
#include "kernels/avxvnni/rows.h"

namespace qwen3cpu::avxvnni {

int64_t probes::int8(int64_t rounds) { return vnni::probe<Rows>(rounds); }

}  // namespace qwen3cpu::avxvnni
