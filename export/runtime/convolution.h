/* The syndrome former of `trellis` (SPEC 9.1): two binary convolutions, h0 of the low and h1 of the high bit above the low ones. */
#ifndef WZ_CONVOLUTION_H
#define WZ_CONVOLUTION_H

#include "wz.h"

/* Feed z (its two lowest bits): the syndrome bit is the lowest of the result, the new register the rest. */
static inline uint32_t wz_syndrome_step(uint32_t state, uint32_t z, uint32_t h0, uint32_t h1)
{
    if (z & 1)
        state ^= h0;
    if (z & 2)
        state ^= h1;
    return state;
}

#endif
