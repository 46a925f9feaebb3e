/* Scheme `predictive` (SPEC 4): closed-loop prediction, exact quantisation without a division, range coding with conditional tables. A packet
 * stands alone. The blob's section is checked in predictive_section.c. */
#include "predictor.h"

#include "fixed_point.h"
#include "range_coder.h"

#if WZ_WITH_PREDICTIVE

static const wz_predictive_blob_t *blob_of(const wz_encoder_t *encoder)
{
    return (const wz_predictive_blob_t *)encoder->model->blob;
}

/* Prediction of the slot from the reconstructions of this packet (SPEC 4.1). */
static int32_t predict(const wz_encoder_t *encoder, uint32_t slot)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    const int16_t *recon = encoder->source.predictor.recon;
    uint32_t p = slot < blob->order ? slot : blob->order;
    const int32_t *row = blob->rows + ((p * (p + 1)) >> 1);
    int32_t acc = *row++ + ((int32_t)1 << (WZ_COEF_BITS - 1));
    for (const int32_t *end = row + p; row != end;)
        acc += *row++ * *recon++;
    return wz_sat16(acc >> WZ_COEF_BITS);
}

/* Make `recon` and `level` the newest. */
static void push(wz_encoder_t *encoder, int32_t recon, uint32_t level)
{
    int16_t *history = encoder->source.predictor.recon;
    for (const int16_t *end = history + blob_of(encoder)->order; history != end;) {
        int32_t older = *history;
        *history++ = (int16_t)recon;
        recon = older;
    }
    encoder->source.predictor.level[1] = encoder->source.predictor.level[0];
    encoder->source.predictor.level[0] = (uint16_t)level;
}

/* (|d| * 256 + rounding) div step (SPEC 4.1); the estimate is at most 8 short. */
static uint32_t quantize(const wz_predictive_point_t *point, uint32_t distance)
{
    uint32_t step_q8 = point->step_q8, v = distance * 256 + point->rounding_q8;
    uint32_t q = ((v >> 9) * point->recip) >> point->recip_shift;
    for (v -= q * step_q8; v >= step_q8; v -= step_q8)
        q++;
    return q;
}

/* The table of the slot (SPEC 4.2). */
static const wz_table_t *table_of(const wz_encoder_t *encoder, const wz_table_t *table, uint32_t slot)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    if (slot < blob->position_tables)
        return table + slot;
    table += blob->position_tables;
    uint32_t activity = 2u * encoder->source.predictor.level[0] + encoder->source.predictor.level[1];
    const uint16_t *threshold = blob->threshold;
    for (const uint16_t *end = threshold + blob->contexts - 1; threshold != end && activity >= *threshold; threshold++)
        table++;
    return table;
}

/* The symbol of class c and what follows it. `excess`: beyond the last level with a symbol of its own. */
static void encode_escape(wz_encoder_t *encoder, const uint16_t *cdf, uint32_t excess, uint32_t negative)
{
    uint32_t c = wz_bit_length(excess);
    wz_encode_symbol(encoder, cdf[c], (uint32_t)cdf[c + 1] - cdf[c], blob_of(encoder)->cdf_bits);
    if (c >= 2)
        wz_encode_bits(encoder, excess - ((uint32_t)1 << (c - 1)), c - 1);
    wz_encode_bits(encoder, negative, 1);
}

/* SPEC 4.3. */
static void encode_level(wz_encoder_t *encoder, const wz_table_t *table, uint32_t level, uint32_t negative)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    uint32_t direct = table->direct;
    const uint16_t *cdf = (const uint16_t *)blob + table->half_offset + direct;
    if (level > direct) {
        encode_escape(encoder, cdf + direct + 1, level - direct - 1, negative);
        return;
    }
    cdf = negative ? cdf - level : cdf + level;
    wz_encode_symbol(encoder, cdf[0], (uint32_t)cdf[1] - cdf[0], blob->cdf_bits);
}

static void begin(wz_encoder_t *encoder)
{
    encoder->source.predictor.level[0] = 0;
    encoder->source.predictor.level[1] = 0;
    wz_start_coder(encoder);
}

static void samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const wz_predictive_point_t *point = (const wz_predictive_point_t *)wz_point(encoder);
    uint32_t slot = encoder->slot;
    for (const int16_t *end = samples + count; samples != end; slot++) {
        int32_t prediction = predict(encoder, slot);
        int32_t d = *samples++ - prediction;
        uint32_t negative = (uint32_t)d >> 31;
        uint32_t level = quantize(point, (uint32_t)(negative ? -d : d));
        encode_level(encoder, table_of(encoder, point->table, slot), level, negative);
        int32_t offset = (int32_t)((level * point->step_q8 + 128) >> 8);
        push(encoder, wz_sat16(negative ? prediction - offset : prediction + offset), level);
    }
}

static void absent(wz_encoder_t *encoder)
{
    push(encoder, predict(encoder, encoder->slot), 0);
}

const wz_scheme_t wz_predictive = {
    WZ_SCHEME_PREDICTIVE, wz_predictive_check, wz_predictive_at, wz_predictive_need, begin, samples, absent, wz_finish_coder,
};

#endif
