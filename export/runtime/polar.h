/* What blocks of `syndrome` and of `layered` share: the polar transform on words of 32 bits, and the check over a block (SPEC 10.1). Arikan,
 * "Channel polarization" (2009), section VII. */
#ifndef WZ_POLAR_H
#define WZ_POLAR_H

#include <stdint.h>

static int is_check(uint32_t bits)
{
    return bits == 6 || bits == 8 || bits == 12 || bits == 16;
}

/* By K: 6, 8, 12, 16; aligned to the left of 16 bits. */
static uint32_t polynomial_of(uint32_t check_bits)
{
    return check_bits == 6 ? 0x0C00 : check_bits == 8 ? 0x2F00 : check_bits == 12 ? 0x80F0 : 0x1021;
}

static uint32_t check_step(uint32_t r, uint32_t u, uint32_t polynomial)
{
    r ^= u; /* both bytes at once: the low one meets the register when it has moved up */
    for (uint32_t bit = 0; bit < 16; bit++) {
        r <<= 1;
        if (r & 0x10000)
            r ^= 0x10000 | polynomial;
    }
    return r;
}

/* Bits of the transform for packets of so many samples: the smallest power of two that is not below. */
static uint32_t transform_bits(uint32_t packet_samples)
{
    uint32_t bits = 1;
    while (bits < packet_samples)
        bits <<= 1;
    return bits;
}

/* The sets of positions of a table or a rate point: every plane sends something, and nothing from N on. */
static int are_sets(const uint32_t *set, uint32_t planes, uint32_t packet_samples)
{
    const uint32_t words = (packet_samples + 31u) >> 5, rest = packet_samples & 31;
    for (; planes != 0; planes--, set += words) {
        uint32_t any = 0;
        for (uint32_t w = 0; w < words; w++)
            any |= set[w];
        if (any == 0 || (rest != 0 && set[words - 1] >> rest != 0))
            return 0;
    }
    return 1;
}

/* The first `size` bits, a power of two, in place. */
static void transform(uint32_t *words, uint32_t size)
{
    static const uint32_t masks[5] = {0x55555555u, 0x33333333u, 0x0F0F0F0Fu, 0x00FF00FFu, 0x0000FFFFu};
    uint32_t count = (size + 31) >> 5;
    for (uint32_t stage = 0; stage < 5 && (uint32_t)1 << stage < size; stage++)
        for (uint32_t w = 0; w < count; w++)
            words[w] ^= (words[w] >> (1u << stage)) & masks[stage];
    for (uint32_t half = 1; half < count; half <<= 1)
        for (uint32_t w = 0; w < count; w++)
            if (!(w & half))
                words[w] ^= words[w + half];
}

#endif
