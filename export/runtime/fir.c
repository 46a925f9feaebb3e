/* See fir.h. */
#include "fir.h"

#include "scheme.h"

#if WZ_WITH_FILTERED

#if WZ_TAPS > 1

/* Two samples lie in each word of the history, the newer one below: that costs shifts where halfwords cost loads and stores. Unrolled, so that
 * every address is a constant. With an even number of taps the last word holds one sample; zero stands above it, for what lies in the blob
 * behind the last tap. */
#define PAIR(k)                                                       \
    if (WZ_TAPS > 2 * (k) + 1) {                                      \
        if (taps <= 2 * (k) + 1)                                      \
            goto done;                                                \
        uint32_t pair = history[k];                                   \
        history[k] = (pair << 16) | (newer >> 16);                    \
        newer = pair;                                                 \
        acc += point->tap[2 * (k) + 1] * (int16_t)pair;               \
        acc += point->tap[2 * (k) + 2] * ((int32_t)pair >> 16);       \
    }

int32_t wz_filter(wz_encoder_t *encoder, const wz_nested_point_t *point, uint32_t taps, int32_t x)
{
    uint32_t *history = encoder->source.filter.history, newer = (uint32_t)x << 16;
    int32_t acc = point->rounding + point->tap[0] * x;
    PAIR(0)
    PAIR(1)
    PAIR(2)
    PAIR(3)
    PAIR(4)
    PAIR(5)
    PAIR(6)
    PAIR(7)
done:
    if ((taps & 1) == 0)
        history[(taps >> 1) - 1] &= 0xFFFF;
    return acc;
}

#endif

void wz_repeat_sample(wz_encoder_t *encoder)
{
#if WZ_TAPS > 1
    wz_filter(encoder, (const wz_nested_point_t *)wz_point(encoder), wz_taps(encoder), (int16_t)encoder->source.filter.history[0]);
#else
    (void)encoder;
#endif
}

int32_t wz_saturate(wz_encoder_t *encoder, int32_t raw)
{
    if ((int32_t)(encoder->saturated + 1) >= 0)
        encoder->saturated++;
    return (raw >> 31) ^ 32767;
}

#endif
