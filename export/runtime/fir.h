/* The encoder's filter at one sample (SPEC 3.1): a dot product whose taps carry the step, so the node never divides; then the level. */
#ifndef WZ_FIR_H
#define WZ_FIR_H

#include "sections.h"

static inline uint32_t wz_taps(const wz_encoder_t *encoder)
{
    return WZ_TAPS == 1 ? 1 : ((const wz_nested_blob_t *)encoder->model->blob)->taps;
}

/* rounding + sum of tap[i] * x[n-i], in int32 (SPEC 5.3); `x` becomes the newest of the history. */
int32_t wz_filter(wz_encoder_t *encoder, const wz_nested_point_t *point, uint32_t taps, int32_t x);

/* In place of an absent sample the newest one comes again. */
void wz_repeat_sample(wz_encoder_t *encoder);

/* The level nearest to one that does not fit 16 bits, counted. */
int32_t wz_saturate(wz_encoder_t *encoder, int32_t raw);

/* The level of sample x; its history moves on. */
static inline int32_t wz_level(wz_encoder_t *encoder, const wz_nested_point_t *point, uint32_t taps, int32_t x)
{
    int32_t level = WZ_TAPS == 1 ? point->rounding + point->tap[0] * x : wz_filter(encoder, point, taps, x);
    level >>= point->shift;
    if (WZ_RARELY(level != (int16_t)level))
        level = wz_saturate(encoder, level);
    return level;
}

#endif
