/* See predictor.h. */
#include "predictor.h"

#include "blob.h"
#include "fixed_point.h"
#include "range_coder.h"

#if WZ_WITH_PREDICTIVE

static const wz_predictive_blob_t *blob_of(const wz_encoder_t *encoder)
{
    return (const wz_predictive_blob_t *)encoder->model->blob;
}

static const wz_predictive_point_t *point_of(const wz_encoder_t *encoder)
{
    return (const wz_predictive_point_t *)((const uint8_t *)encoder->model->blob + encoder->point);
}

/* Prediction of the slot from the reconstructions of this packet (SPEC 4.1). */
static int32_t predict(const wz_encoder_t *encoder, uint32_t slot)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    const int16_t *recon = encoder->source.predictor.recon;
    uint32_t p = slot < blob->order ? slot : blob->order;
    const int32_t *row = blob->rows + ((p * (p + 1)) >> 1);
    int32_t acc = *row++ + ((int32_t)1 << (WZ_COEF_BITS - 1));
    for (; p != 0; p--)
        acc += *row++ * *recon++;
    return wz_sat16(acc >> WZ_COEF_BITS);
}

/* Make `recon` and `level` the newest. */
static void push(wz_encoder_t *encoder, int32_t recon, uint32_t level)
{
    int16_t *history = encoder->source.predictor.recon;
    for (uint32_t i = 0; i < blob_of(encoder)->order; i++) {
        int32_t older = history[i];
        history[i] = (int16_t)recon;
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
static const wz_table_t *table_of(const wz_encoder_t *encoder, const wz_predictive_point_t *point, uint32_t slot)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    const wz_table_t *table = point->table;
    if (slot < blob->position_tables)
        return table + slot;
    uint32_t activity = 2u * encoder->source.predictor.level[0] + encoder->source.predictor.level[1];
    table += blob->position_tables;
    const uint16_t *threshold = blob->threshold, *end = threshold + blob->contexts - 1;
    while (threshold != end && activity >= *threshold) {
        threshold++;
        table++;
    }
    return table;
}

/* SPEC 4.3. */
static void encode_level(wz_encoder_t *encoder, const wz_table_t *table, uint32_t level, uint32_t negative)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    const uint16_t *cdf = (const uint16_t *)blob + table->half_offset + table->direct;
    uint32_t c = 0;
    if (level <= table->direct) {
        cdf = negative ? cdf - level : cdf + level;
    } else {
        level -= table->direct + 1u;
        c = wz_bit_length(level);
        cdf += table->direct + 1u + c;
        negative += 2;
    }
    wz_encode_symbol(encoder, cdf[0], (uint32_t)cdf[1] - cdf[0], blob->cdf_bits);
    if (negative >= 2) {
        if (c >= 2)
            wz_encode_bits(encoder, level - ((uint32_t)1 << (c - 1)), c - 1);
        wz_encode_bits(encoder, negative & 1, 1);
    }
}

void wz_predictive_begin(wz_encoder_t *encoder)
{
    encoder->source.predictor.level[0] = 0;
    encoder->source.predictor.level[1] = 0;
    wz_start_coder(encoder);
}

void wz_predictive_samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const wz_predictive_point_t *point = point_of(encoder);
    uint32_t end = encoder->slot + count;
    for (uint32_t slot = encoder->slot; slot < end; slot++) {
        int32_t prediction = predict(encoder, slot);
        int32_t d = *samples++ - prediction;
        uint32_t negative = (uint32_t)d >> 31;
        uint32_t level = quantize(point, (uint32_t)(negative ? -d : d));
        encode_level(encoder, table_of(encoder, point, slot), level, negative & (level != 0));
        int32_t offset = (int32_t)((level * point->step_q8 + 128) >> 8);
        push(encoder, wz_sat16(negative ? prediction - offset : prediction + offset), level);
    }
}

void wz_predictive_absent(wz_encoder_t *encoder)
{
    push(encoder, predict(encoder, encoder->slot), 0);
}

void wz_predictive_finish(wz_encoder_t *encoder)
{
    wz_finish_coder(encoder);
}

#endif
