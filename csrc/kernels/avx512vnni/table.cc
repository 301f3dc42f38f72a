// The AVX-512 kernel table: AVX2's, with its own products for the quantised formats and its own attention.
#include "../../isa.h"
#include "kernels.h"

namespace qwen3cpu::avx512vnni {
namespace {
const FormatKernels format_kernels[] = {
    {Format::f32, "f32", Activation::f32, avx2::f32::matmul},
    {Format::bf16, "bf16", Activation::f32, avx2::bf16::matmul},
    {Format::q8, "q8", Activation::i8g32, q8::matmul},
    {Format::q4, "q4", Activation::i8g256, q4::matmul},
};
const KvKernels kv_kernels[] = {
#define KV_FORMAT(name, value_bytes, scale_bytes) {KvFormat::name, #name, kv_##name::attend, avx2::kv_##name::store},
#include "../../kv_formats.inc"
#undef KV_FORMAT
};
const IsaTable isa_table = {
    "avx512vnni",
    cpu_runs_avx512vnni,
    format_kernels,
    kv_kernels,
    {avx2::rms_norm, avx2::rope, avx2::silu_mul, avx2::quantize_i8g32, avx2::quantize_i8g256},
    {avx2::probe_fp32, avx2::probe_int8, avx2::probe_read},
};
}  // namespace

const IsaTable& table() { return isa_table; }

}  // namespace qwen3cpu::avx512vnni
