/* Saturation and rounding (SPEC 1), and nothing else: every narrowing store goes through here. */
#ifndef WZ_FIXED_POINT_H
#define WZ_FIXED_POINT_H

#include "wz.h"

/* Nearest int16. */
static inline int32_t wz_sat16(int32_t v)
{
    return v == (int16_t)v ? v : (v >> 31) ^ 32767;
}

/* v / 2^s to the nearest integer, ties up. */
static inline int32_t wz_shift_round(int32_t v, uint32_t s)
{
    return s == 0 ? v : (v + ((int32_t)1 << (s - 1))) >> s;
}

/* Number of bits of v; 0 has none. */
static inline uint32_t wz_bit_length(uint32_t v)
{
    uint32_t n = 0;
    for (; v != 0; v >>= 1)
        n++;
    return n;
}

#endif
