/* The encoder's filter at one sample (SPEC 3.1): a dot product whose taps carry the step, so the node never divides. */
#ifndef WZ_FIR_H
#define WZ_FIR_H

#include "wz.h"

/* rounding + sum of tap[i] * x[n-i] in int32 (SPEC 5.3), and `x` becomes the newest of history[0..taps-2]. */
static inline int32_t wz_filter_sample(int32_t x, const int32_t *tap, uint32_t taps, int32_t rounding, int16_t *history)
{
    int32_t acc = rounding + tap[0] * x;
    for (uint32_t i = 1; i < taps; i++) {
        int32_t older = *history;
        *history++ = (int16_t)x;
        acc += tap[i] * older;
        x = older;
    }
    return acc;
}

/* In place of an absent sample the newest one comes again. */
static inline void wz_repeat_sample(uint32_t taps, int16_t *history)
{
    for (uint32_t i = taps; i > 2; i--)
        history[i - 2] = history[i - 3];
}

#endif
