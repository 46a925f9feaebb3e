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

/* Row of the slot in the table of predictors. */
static inline const int32_t *row_of(const wz_predictive_blob_t *blob, uint32_t slot)
{
    uint32_t p = slot < blob->order ? slot : blob->order;
    return blob->rows + ((p * (p + 1)) >> 1);
}

/* Prediction (SPEC 4.1). Two reconstructions lie in each word; those that are not there yet are zero, whatever stands behind a short row. */
static WZ_APART int32_t predict(const wz_encoder_t *encoder, int32_t order, const int32_t *row)
{
    const uint32_t *recon = encoder->source.predictor.recon;
    int32_t acc = row[0] + ((int32_t)1 << (WZ_COEF_BITS - 1));
    for (; order > 0; order -= 2, row += 2) {
        uint32_t pair = *recon++;
        acc += row[1] * (int16_t)pair + row[2] * ((int32_t)pair >> 16);
    }
    return wz_sat16(acc >> WZ_COEF_BITS);
}

/* Make `recon` and `level` the newest. With an odd order zero stays above the last one. */
static inline void push(wz_encoder_t *encoder, uint32_t order, int32_t newest, uint32_t level)
{
    uint32_t *recon = encoder->source.predictor.recon, newer = recon[0];
    recon[0] = (newer << 16) | (uint16_t)newest;
    if (order > 2) {
        uint32_t middle = recon[1];
        recon[1] = (middle << 16) | (newer >> 16);
        recon[2] = (recon[2] << 16) | (middle >> 16);
    }
    if (order & 1)
        recon[order >> 1] &= 0xFFFF;
    encoder->source.predictor.level[1] = encoder->source.predictor.level[0];
    encoder->source.predictor.level[0] = (uint16_t)level;
}

/* The table of the slot (SPEC 4.2). */
static WZ_APART const wz_table_t *table_of(const wz_encoder_t *encoder, uint32_t slot)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    const wz_table_t *table = ((const wz_predictive_point_t *)wz_point(encoder))->table;
    uint32_t tables = blob->position_tables;
    if (slot < tables)
        return table + slot;
    table += tables;
    uint32_t activity = 2u * encoder->source.predictor.level[0] + encoder->source.predictor.level[1];
    const uint16_t *threshold = blob->threshold;
    for (uint32_t left = blob->contexts; --left != 0 && activity >= *threshold; threshold++)
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

/* SPEC 4.3. `sign`: -1 of a negative level, else 0. */
static inline void encode_level(wz_encoder_t *encoder, const wz_table_t *table, uint32_t level, int32_t sign)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    uint32_t direct = table->direct;
    const uint16_t *cdf = (const uint16_t *)blob + table->half_offset + direct;
    if (WZ_RARELY(level > direct)) {
        encode_escape(encoder, cdf + direct + 1, level - direct - 1, (uint32_t)-sign);
        return;
    }
    cdf += ((int32_t)level ^ sign) - sign;
    wz_encode_symbol(encoder, cdf[0], (uint32_t)cdf[1] - cdf[0], blob->cdf_bits);
}

/* One slot; without a table it is an absent one. Nothing outlives the range coder, which comes last, so the registers are for the rest. */
static WZ_APART void encode_slot(wz_encoder_t *encoder, const int32_t *row, int32_t x, const wz_table_t *table)
{
    const wz_predictive_blob_t *blob = blob_of(encoder);
    const wz_predictive_point_t *point = (const wz_predictive_point_t *)wz_point(encoder);
    int32_t prediction = predict(encoder, blob->order, row);
    if (!table)
        x = prediction;
    int32_t sign = (x - prediction) >> 31;
    /* (|d| * 256 + rounding) div step (SPEC 4.1); the estimate is at most 8 short */
    uint32_t v = (uint32_t)(((x - prediction) ^ sign) - sign) * 256 + point->rounding_q8;
    uint32_t level = ((v >> 9) * point->recip) >> point->recip_shift, step_q8 = point->step_q8, offset_q8 = level * step_q8;
    for (; v - offset_q8 >= step_q8; offset_q8 += step_q8)
        level++;
    int32_t offset = (int32_t)((offset_q8 + 128) >> 8);
    push(encoder, blob->order, wz_sat16(prediction + ((offset ^ sign) - sign)), level);
    if (table)
        encode_level(encoder, table, level, sign);
}

static void begin(wz_encoder_t *encoder)
{
    for (uint32_t i = 0; i < WZ_MAX_ORDER / 2; i++)
        encoder->source.predictor.recon[i] = 0;
    encoder->source.predictor.level[0] = 0;
    encoder->source.predictor.level[1] = 0;
    wz_start_coder(encoder);
}

static void samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    uint32_t slot = encoder->slot, order = blob_of(encoder)->order;
    const int32_t *row = row_of(blob_of(encoder), slot);
    for (const int16_t *end = samples + count; samples != end; slot++) {
        encode_slot(encoder, row, *samples++, table_of(encoder, slot));
        if (slot < order)
            row += slot + 1;
    }
}

static void absent(wz_encoder_t *encoder)
{
    encode_slot(encoder, row_of(blob_of(encoder), encoder->slot), 0, (const wz_table_t *)0);
}

const wz_scheme_t wz_predictive = {
    WZ_SCHEME_PREDICTIVE, wz_predictive_check, wz_predictive_at, wz_predictive_need, begin, samples, absent, wz_finish_coder,
};

#endif
