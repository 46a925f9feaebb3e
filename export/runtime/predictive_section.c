/* Blob section of `predictive` (SPEC 5.2). */
#include "fixed_point.h"
#include "predictor.h"

#if WZ_WITH_PREDICTIVE

#define ROWS_AT 52 /* where the predictor rows begin */
#define LARGEST_DISTANCE ((uint32_t)65535 * 256)

static uint32_t tables_of(const wz_predictive_blob_t *blob)
{
    return (uint32_t)blob->position_tables + blob->contexts;
}

uint32_t wz_predictive_at(const void *blob, uint32_t rate_point)
{
    const wz_predictive_blob_t *section = (const wz_predictive_blob_t *)blob;
    uint32_t order = section->order;
    return ROWS_AT + 2 * (order + 1) * (order + 2) + rate_point * (12 + 4 * tables_of(section));
}

static const wz_predictive_point_t *point_of(const void *blob, uint32_t rate_point)
{
    return (const wz_predictive_point_t *)((const uint8_t *)blob + wz_predictive_at(blob, rate_point));
}

/* A level costs at most its symbol, the bits of its class and the sign; the coder loses less than 1/16 bit in each of these steps. */
wz_need_t wz_predictive_need(const void *blob, uint32_t rate_point)
{
    const wz_predictive_blob_t *section = (const wz_predictive_blob_t *)blob;
    const wz_predictive_point_t *point = point_of(blob, rate_point);
    uint32_t classes = 0, slots = section->header.packet_samples;
    for (uint32_t t = 0; t < tables_of(section); t++)
        if (point->table[t].classes > classes)
            classes = point->table[t].classes;
    wz_need_t need = {slots * (section->cdf_bits + classes) + (slots >> 2) + 40, 0};
    return need;
}

/* v div d for d < 2^31, bit by bit. */
static uint32_t divide(uint32_t v, uint32_t d)
{
    uint32_t quotient = 0, rest = 0;
    for (uint32_t bit = 0; bit < 32; bit++) {
        rest = (rest << 1) | (v >> 31);
        v <<= 1;
        quotient <<= 1;
        if (rest >= d) {
            rest -= d;
            quotient |= 1;
        }
    }
    return quotient;
}

/* Whether recip and recip_shift are those of the step (SPEC 4.1): 2^k div step for the largest k <= 39 where it is below 2^15. */
static int is_reciprocal(const wz_predictive_point_t *point)
{
    uint32_t quotient = 0, rest = 1, k = 0;
    for (; k < 39; k++) {
        uint32_t above = 2 * rest >= point->step_q8;
        if (2 * quotient + above >= (uint32_t)1 << 15)
            break;
        quotient = 2 * quotient + above;
        rest = above ? 2 * rest - point->step_q8 : 2 * rest;
    }
    return point->recip == quotient && point->recip_shift + 9u == k;
}

/* The cdf has to lie at `at`, rise from 0 to 2^cdf_bits, and end before `end`; returns where the next one begins, 0 if it does not. */
static uint32_t check_table(const wz_predictive_blob_t *blob, const wz_table_t *table, uint32_t top, uint32_t at, uint32_t end)
{
    uint32_t classes = top > table->direct ? wz_bit_length(top - table->direct - 1u) : 0;
    uint32_t entries = 2u * table->direct + classes + 3;
    const uint16_t *cdf = (const uint16_t *)blob + table->half_offset;
    if (table->direct > WZ_MAX_DIRECT || table->classes != classes || 2u * table->half_offset != at || at + 2 * entries > end)
        return 0;
    for (uint32_t i = 1; i < entries; i++)
        if (cdf[i] <= cdf[i - 1])
            return 0;
    return cdf[0] == 0 && cdf[entries - 1] == (uint32_t)1 << blob->cdf_bits ? at + 2 * entries : 0;
}

static int thresholds_rise(const wz_predictive_blob_t *blob)
{
    for (uint32_t i = 0, used = blob->contexts - 1u; i < WZ_MAX_CONTEXTS - 1; i++)
        if (i < used ? i > 0 && blob->threshold[i] <= blob->threshold[i - 1] : blob->threshold[i] != 0)
            return 0;
    return 1;
}

static int is_within(uint32_t v, uint32_t low, uint32_t high)
{
    return v >= low && v <= high;
}

static int fields_hold(const wz_predictive_blob_t *blob)
{
    return blob->order <= WZ_MAX_ORDER && is_within(blob->position_tables, 1, WZ_MAX_POSITION_TABLES) &&
           is_within(blob->contexts, 1, WZ_MAX_CONTEXTS) && is_within(blob->cdf_bits, 8, 15) &&
           blob->header.level_check_bits == 0 && thresholds_rise(blob);
}

static int point_holds(const wz_predictive_point_t *point)
{
    return is_within(point->step_q8, WZ_MIN_STEP_Q8, WZ_MAX_STEP_Q8) && point->rounding_q8 < point->step_q8 && is_reciprocal(point) &&
           point->zero == 0;
}

wz_status_t wz_predictive_check(const void *blob, uint32_t end)
{
    const wz_predictive_blob_t *section = (const wz_predictive_blob_t *)blob;
    if (end < ROWS_AT)
        return WZ_BLOB_LENGTH;
    if (!fields_hold(section))
        return WZ_BLOB_FIELD;
    uint32_t at = wz_predictive_at(blob, section->header.rate_points);
    if (at > end)
        return WZ_BLOB_LENGTH;
    const int32_t *row = section->rows;
    for (uint32_t p = 0; p <= section->order; row += ++p)
        if (!wz_fits_32_bits(row + 1, p, row[0], 2048))
            return WZ_BLOB_OVERFLOW;
    for (uint32_t number = 0; number < section->header.rate_points; number++) {
        const wz_predictive_point_t *point = point_of(blob, number);
        if (!point_holds(point))
            return WZ_BLOB_FIELD;
        uint32_t top = divide(LARGEST_DISTANCE + point->rounding_q8, point->step_q8);
        for (uint32_t t = 0; t < tables_of(section); t++)
            if ((at = check_table(section, &point->table[t], top, at, end)) == 0)
                return WZ_BLOB_TABLE;
    }
    const uint8_t *bytes = (const uint8_t *)blob;
    for (; (at & 3) != 0 && at < end; at++)
        if (bytes[at] != 0)
            return WZ_BLOB_FIELD;
    return at == end ? WZ_OK : WZ_BLOB_LENGTH;
}

#endif
