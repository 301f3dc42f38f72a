// The numbers of the project's exponential, shared by every ISA so that all give the same bits.
#pragma once

namespace qwen3cpu {

inline constexpr float kExpMin = -87.0f;  // e^-87 is still a normal number; anything below counts as 0
inline constexpr float kExpMax = 88.0f;   // 2^127 is the largest power of two
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kRoundShift = 0x1.8p+23f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
inline constexpr float kLn2High = 0x1.62e43p-1f;  // ln 2 = high + low
inline constexpr float kLn2Low = -0x1.05c61p-29f;
// e^r = 1 + r + kExp2 r^2 + ... + kExp6 r^6 on |r| <= ln(2) / 2. It has the least maximal
// relative error of this form (3.1e-9).
inline constexpr float kExp2 = 0.4999999403953552f;
inline constexpr float kExp3 = 0.1666652113199234f;
inline constexpr float kExp4 = 0.04166838899254799f;
inline constexpr float kExp5 = 0.00836874544620514f;
inline constexpr float kExp6 = 0.0013814540579915047f;

}  // namespace qwen3cpu
