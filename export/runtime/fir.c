/* See fir.h. */
#include "fir.h"

#if WZ_WITH_FILTERED

void wz_repeat_sample(wz_encoder_t *encoder)
{
    int16_t *history = encoder->source.filter.history;
    for (uint32_t i = wz_taps(encoder); i > 2; i--)
        history[i - 2] = history[i - 3];
}

int32_t wz_saturate(wz_encoder_t *encoder, int32_t raw)
{
    encoder->saturated += encoder->saturated < 0x7FFFFFFF;
    return (raw >> 31) ^ 32767;
}

#endif
