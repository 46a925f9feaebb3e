/* The one check of a blob (SPEC 5.3): what passes can be used without looking again, and has the one byte form that its fields allow. */
#include "blob.h"

#include "fixed_point.h"
#include "packet.h"

#define CHECK_BYTES 4
#define PREDICTIVE_ROWS 52 /* where the predictor rows begin */
#define LARGEST_DISTANCE ((uint32_t)65535 * 256)

static uint32_t rows_bytes(uint32_t order)
{
    return 2 * (order + 1) * (order + 2);
}

static uint32_t tables_of(const wz_predictive_blob_t *blob)
{
    return (uint32_t)blob->position_tables + blob->contexts;
}

uint32_t wz_point_offset(const wz_model_t *model, uint32_t rate_point)
{
#if WZ_WITH_PREDICTIVE
    if (wz_header(model)->scheme == WZ_SCHEME_PREDICTIVE) {
        const wz_predictive_blob_t *blob = (const wz_predictive_blob_t *)model->blob;
        return PREDICTIVE_ROWS + rows_bytes(blob->order) + rate_point * (12 + 4 * tables_of(blob));
    }
#endif
    uint32_t first = wz_header(model)->scheme == WZ_SCHEME_TRELLIS ? sizeof(wz_trellis_blob_t) : sizeof(wz_nested_blob_t);
    return first + rate_point * (8 + 4u * ((const wz_nested_blob_t *)model->blob)->taps);
}

static const void *point_of(const wz_model_t *model, uint32_t rate_point)
{
    return (const uint8_t *)model->blob + wz_point_offset(model, rate_point);
}

/* Bits of the longest payload of one rate point. The coder loses less than 1/16 bit per step, and at most 5 bytes at the end. */
static uint32_t payload_bits(const wz_model_t *model, uint32_t rate_point)
{
    const wz_blob_header_t *header = wz_header(model);
    uint32_t slots = header->packet_samples;
#if WZ_WITH_PREDICTIVE
    if (header->scheme == WZ_SCHEME_PREDICTIVE) {
        const wz_predictive_blob_t *blob = (const wz_predictive_blob_t *)model->blob;
        const wz_predictive_point_t *point = (const wz_predictive_point_t *)point_of(model, rate_point);
        uint32_t classes = 0;
        for (uint32_t t = 0; t < tables_of(blob); t++)
            if (point->table[t].classes > classes)
                classes = point->table[t].classes;
        return slots * (blob->cdf_bits + classes) + (slots >> 2) + 64;
    }
#endif
    const wz_nested_point_t *point = (const wz_nested_point_t *)point_of(model, rate_point);
    uint32_t bits = wz_bit_length(point->modulus - 1u);
    if (header->scheme == WZ_SCHEME_TRELLIS)
        return slots * (bits + 1) + header->level_check_bits;
    return slots * bits + (slots >> 4) + header->level_check_bits + 48;
}

uint32_t wz_max_payload_bytes(const wz_model_t *model)
{
    uint32_t most = 0;
    for (uint32_t point = 0; point < wz_header(model)->rate_points; point++) {
        uint32_t bits = payload_bits(model, point);
        if (bits > most)
            most = bits;
    }
    return (most + 7) >> 3;
}

static uint32_t magnitude(int32_t v)
{
    return v < 0 ? 0 - (uint32_t)v : (uint32_t)v;
}

/* Whether sum |weight| * 32768 + |bias| + margin stays below 2^31. */
static int fits_32_bits(const int32_t *weights, uint32_t count, int32_t bias, uint32_t margin)
{
    uint32_t sum = 0;
    for (; count != 0; count--, weights++) {
        if (magnitude(*weights) > 65535)
            return 0;
        sum += magnitude(*weights);
        if (sum > 65535)
            return 0;
    }
    return sum * 32768 + magnitude(bias) + margin < (uint32_t)1 << 31;
}

#if WZ_WITH_FILTERED

static wz_status_t check_points(const wz_model_t *model, uint32_t end)
{
    const wz_blob_header_t *header = wz_header(model);
    uint32_t taps = ((const wz_nested_blob_t *)header)->taps;
    if (taps < 1 || taps > WZ_MAX_TAPS)
        return WZ_BLOB_FIELD;
    if (taps > WZ_TAPS)
        return WZ_BLOB_SCHEME;
    if (wz_point_offset(model, header->rate_points) != end)
        return WZ_BLOB_LENGTH;
    for (uint32_t number = 0; number < header->rate_points; number++) {
        const wz_nested_point_t *point = (const wz_nested_point_t *)point_of(model, number);
        uint32_t any = 0, coded = (point->modulus & (point->modulus - 1u)) != 0, nested = header->scheme == WZ_SCHEME_NESTED;
        for (uint32_t i = 0; i < taps; i++)
            any |= (uint32_t)point->tap[i];
        if (point->shift > WZ_MAX_SHIFT || point->zero != 0 || any == 0 || point->modulus < 1 + nested)
            return WZ_BLOB_FIELD;
        if (point->modulus > (coded || !nested ? WZ_MAX_CODED_MODULUS : WZ_MAX_MODULUS) || (coded && !nested))
            return WZ_BLOB_FIELD;
        if (coded && !WZ_WITH_CODED_BINS)
            return WZ_BLOB_SCHEME;
        if (!fits_32_bits(point->tap, taps, point->rounding, 0))
            return WZ_BLOB_OVERFLOW;
    }
    return WZ_OK;
}

#endif

#if WZ_WITH_TRELLIS
/* Each syndrome has to leave two of the four cosets in each state (SPEC 9.3). */
static int is_code(const wz_trellis_blob_t *blob)
{
    uint32_t h0 = blob->h0, h1 = blob->h1, both = h0 | h1;
    if (blob->memory < 1 || blob->memory > WZ_MAX_MEMORY || blob->quantizer != 0 || blob->variant != 0)
        return 0;
    return both >> blob->memory == 1 && (both & 1) != 0 && h0 != h1 && h0 != 0 && h1 != 0;
}
#endif

#if WZ_WITH_PREDICTIVE

/* v div d for v < 2^31, bit by bit. */
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
        uint32_t twice = rest << 1, above = twice >= point->step_q8;
        if (2 * quotient + above >= 1u << 15)
            break;
        quotient = 2 * quotient + above;
        rest = above ? twice - point->step_q8 : twice;
    }
    return point->recip == quotient && point->recip_shift + 9u == k;
}

/* The cdf has to lie at `at`, rise from 0 to 2^cdf_bits, and end before `end`; returns where the next one begins, 0 if it does not. */
static uint32_t check_table(const wz_predictive_blob_t *blob, const wz_predictive_point_t *point, const wz_table_t *table,
                            uint32_t at, uint32_t end)
{
    uint32_t top = divide(LARGEST_DISTANCE + point->rounding_q8, point->step_q8);
    uint32_t classes = top > table->direct ? wz_bit_length(top - table->direct - 1u) : 0;
    uint32_t entries = 2u * table->direct + classes + 3;
    const uint16_t *cdf = (const uint16_t *)blob + table->half_offset;
    if (table->direct > WZ_MAX_DIRECT || table->classes != classes || 2u * table->half_offset != at || at + 2 * entries > end)
        return 0;
    for (uint32_t i = 1; i < entries; i++)
        if (cdf[i] <= cdf[i - 1])
            return 0;
    return cdf[0] == 0 && cdf[entries - 1] == 1u << blob->cdf_bits ? at + 2 * entries : 0;
}

static int thresholds_rise(const wz_predictive_blob_t *blob)
{
    uint32_t used = blob->contexts - 1u;
    for (uint32_t i = 0; i < WZ_MAX_CONTEXTS - 1; i++)
        if (i < used ? i > 0 && blob->threshold[i] <= blob->threshold[i - 1] : blob->threshold[i] != 0)
            return 0;
    return 1;
}

static wz_status_t check_predictive(const wz_model_t *model, uint32_t end)
{
    const wz_predictive_blob_t *blob = (const wz_predictive_blob_t *)model->blob;
    if (end < PREDICTIVE_ROWS)
        return WZ_BLOB_LENGTH;
    if (blob->order > WZ_MAX_ORDER || blob->position_tables < 1 || blob->position_tables > WZ_MAX_POSITION_TABLES)
        return WZ_BLOB_FIELD;
    if (blob->contexts < 1 || blob->contexts > WZ_MAX_CONTEXTS || blob->cdf_bits < 8 || blob->cdf_bits > 15)
        return WZ_BLOB_FIELD;
    if (blob->header.level_check_bits != 0 || !thresholds_rise(blob))
        return WZ_BLOB_FIELD;
    uint32_t at = wz_point_offset(model, blob->header.rate_points);
    if (at > end)
        return WZ_BLOB_LENGTH;
    const int32_t *row = blob->rows;
    for (uint32_t p = 0; p <= blob->order; row += ++p)
        if (!fits_32_bits(row + 1, p, row[0], 2048))
            return WZ_BLOB_OVERFLOW;
    for (uint32_t number = 0; number < blob->header.rate_points; number++) {
        const wz_predictive_point_t *point = (const wz_predictive_point_t *)point_of(model, number);
        if (point->step_q8 < WZ_MIN_STEP_Q8 || point->step_q8 > WZ_MAX_STEP_Q8 || point->rounding_q8 >= point->step_q8)
            return WZ_BLOB_FIELD;
        if (!is_reciprocal(point) || point->zero != 0)
            return WZ_BLOB_FIELD;
        for (uint32_t t = 0; t < tables_of(blob); t++)
            if ((at = check_table(blob, point, &point->table[t], at, end)) == 0)
                return WZ_BLOB_TABLE;
    }
    const uint8_t *bytes = (const uint8_t *)blob;
    for (; (at & 3) != 0 && at < end; at++)
        if (bytes[at] != 0)
            return WZ_BLOB_FIELD;
    return at == end ? WZ_OK : WZ_BLOB_LENGTH;
}

#endif

/* `end`: where the check begins. */
static wz_status_t check_section(const wz_model_t *model, uint32_t end)
{
#if WZ_WITH_NESTED
    if (wz_header(model)->scheme == WZ_SCHEME_NESTED) {
        const wz_nested_blob_t *blob = (const wz_nested_blob_t *)model->blob;
        if (end < sizeof *blob || (blob->zero[0] | blob->zero[1] | blob->zero[2]) != 0)
            return WZ_BLOB_FIELD;
        return check_points(model, end);
    }
#endif
#if WZ_WITH_TRELLIS
    if (wz_header(model)->scheme == WZ_SCHEME_TRELLIS) {
        const wz_trellis_blob_t *blob = (const wz_trellis_blob_t *)model->blob;
        return end < sizeof *blob || !is_code(blob) ? WZ_BLOB_FIELD : check_points(model, end);
    }
#endif
#if WZ_WITH_PREDICTIVE
    if (wz_header(model)->scheme == WZ_SCHEME_PREDICTIVE)
        return check_predictive(model, end);
#endif
    return WZ_BLOB_SCHEME;
}

/* Finite; `positive`: and above 0. */
static int is_scale(const uint32_t *f64, int positive)
{
    if ((f64[1] & 0x7FF00000u) == 0x7FF00000u)
        return 0;
    return !positive || (f64[1] >> 31 == 0 && (f64[0] | f64[1]) != 0);
}

static wz_status_t check_header(const wz_blob_header_t *header, uint32_t bytes)
{
    if (((uintptr_t)header & 3) != 0)
        return WZ_BLOB_ALIGNMENT;
    if (bytes < sizeof *header + CHECK_BYTES)
        return WZ_BLOB_LENGTH;
    if (header->magic != WZ_BLOB_MAGIC)
        return WZ_BLOB_FOREIGN;
    if (header->version != WZ_BLOB_VERSION)
        return header->version > WZ_BLOB_VERSION ? WZ_BLOB_NEWER : WZ_BLOB_FIELD;
    if (header->total_bytes != bytes || (bytes & 3) != 0)
        return WZ_BLOB_LENGTH;
    if (~wz_crc32(~(uint32_t)0, (const uint8_t *)header, bytes - CHECK_BYTES) != ((const uint32_t *)header)[(bytes >> 2) - 1])
        return WZ_BLOB_CHECK;
    if (header->rate_points < 1 || header->rate_points > WZ_MAX_RATE_POINTS || header->hello_every == 0)
        return WZ_BLOB_FIELD;
    if (header->packet_samples < 1 || header->packet_samples > WZ_MAX_PACKET_SAMPLES)
        return WZ_BLOB_FIELD;
    if (header->level_check_bits != 0 && !WZ_WITH_LEVEL_CHECK)
        return WZ_BLOB_SCHEME;
    if ((header->level_check_bits & ~12u) != 0 || header->level_check_bits == 12)
        return WZ_BLOB_FIELD;
    return is_scale(header->scale, 1) && is_scale(header->offset, 0) ? WZ_OK : WZ_BLOB_FIELD;
}

wz_status_t wz_model_open(wz_model_t *model, const void *blob, uint32_t bytes, const uint8_t *id, uint16_t *rejected)
{
    wz_model_t candidate = {blob, id};
    wz_status_t status = check_header((const wz_blob_header_t *)blob, bytes);
    if (status == WZ_OK)
        status = check_section(&candidate, bytes - CHECK_BYTES);
    if (status == WZ_OK)
        *model = candidate;
    else if (rejected)
        *rejected = (uint16_t)(*rejected + (*rejected != 65535));
    return status;
}
