/* The scheme sections of the node blob (SPEC 5.1, 5.2, 9.3, 10.3, 11.5) as they lie in flash; the checks are in *_section.c. Structs follow the
 * document's tables; every field is aligned by its rules. */
#ifndef WZ_SECTIONS_H
#define WZ_SECTIONS_H

#include "wz.h"

typedef struct {
    uint32_t magic;
    uint8_t version, scheme, rate_points, level_check_bits;
    uint16_t packet_samples, hello_every;
    uint32_t total_bytes;
    uint32_t scale[2], offset[2]; /* f64, not read by the encoder */
} wz_blob_header_t;

/* `taps` is at the same place in all schemes with a filter. */
typedef struct {
    wz_blob_header_t header;
    uint8_t taps, zero[3];
} wz_nested_blob_t;

typedef struct {
    wz_blob_header_t header;
    uint8_t taps, memory, quantizer, variant;
    uint32_t h0, h1;
} wz_trellis_blob_t;

/* Of nested and trellis; `shift`, `rounding` and `tap` are at the same place in syndrome. */
typedef struct {
    uint16_t modulus;
    uint8_t shift, zero;
    int32_t rounding;
    int32_t tap[1]; /* as many as the model has */
} wz_nested_point_t;

typedef struct {
    wz_blob_header_t header;
    uint8_t order, position_tables, contexts, cdf_bits;
    uint16_t threshold[WZ_MAX_CONTEXTS - 1];
    int32_t rows[1]; /* row p begins at p(p+1)/2: bias, coef[0..p-1] */
} wz_predictive_blob_t;

typedef struct {
    uint8_t direct, classes;
    uint16_t half_offset; /* of the cdf from the start of the blob */
} wz_table_t;

typedef struct {
    uint32_t step_q8, rounding_q8;
    uint16_t recip;
    uint8_t recip_shift, zero;
    wz_table_t table[1]; /* position_tables + contexts of them */
} wz_predictive_point_t;

WZ_ASSERT(header_bytes, sizeof(wz_blob_header_t) == WZ_BLOB_HEADER_BYTES);
WZ_ASSERT(nested_bytes, sizeof(wz_nested_blob_t) == 36 && sizeof(wz_trellis_blob_t) == 44);
WZ_ASSERT(predictive_bytes, sizeof(wz_predictive_blob_t) == 56 && sizeof(wz_predictive_point_t) == 16);

static inline const wz_blob_header_t *wz_header(const wz_model_t *model)
{
    return (const wz_blob_header_t *)model->blob;
}

/* Whether sum |weight| * 32768 + |bias| + margin stays below 2^31. */
int wz_fits_32_bits(const int32_t *weights, uint32_t count, int32_t bias, uint32_t margin);

/* Number of taps, against the format and this build. */
wz_status_t wz_check_taps(const void *blob);

/* Shift, rounding and taps of one rate point. */
wz_status_t wz_check_filter(const void *blob, const wz_nested_point_t *point);

#endif
