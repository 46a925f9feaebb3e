/* Scheme `syndrome` (SPEC 10): bit planes of levels, the polar transform on words of 32 bits. Position i of a plane is bit i mod 32 of word
 * i >> 5, so a stage of the transform is one shift and xor per word, or one xor per pair of words. Low bits go out at once; the planes
 * wait in the work space. Arikan, "Channel polarization" (2009), section VII. */
#include "bit_writer.h"
#include "fir.h"
#include "scheme.h"

#if WZ_WITH_SYNDROME

#include "polar.h"

typedef struct {
    wz_blob_header_t header;
    uint8_t taps, check_bits, quantizer, variant;
} blob_t;

typedef struct {
    uint8_t low_bits, planes, shift, zero;
    int32_t rounding;
    int32_t tap[1]; /* then the sets */
} point_t;

static const blob_t *blob_of(const wz_encoder_t *encoder)
{
    return (const blob_t *)encoder->model->blob;
}

static const point_t *point_of(const wz_encoder_t *encoder)
{
    return (const point_t *)wz_point(encoder);
}

static const uint32_t *sets_of(const blob_t *blob, const point_t *point)
{
    return (const uint32_t *)(point->tap + blob->taps);
}

/* Words of a set: as many as it takes to name N positions. */
static uint32_t set_words(const blob_t *blob)
{
    return (blob->header.packet_samples + 31u) >> 5;
}

/* Words of one plane in the work space. */
static uint32_t plane_words(const blob_t *blob)
{
    return (transform_bits(blob->header.packet_samples) + 31) >> 5;
}

/* The work space: how many samples were present, then the planes. */
static uint32_t *count_of(const wz_encoder_t *encoder)
{
    return (uint32_t *)wz_work(encoder);
}

static uint32_t *planes_of(const wz_encoder_t *encoder)
{
    return count_of(encoder) + 1;
}

static void begin(wz_encoder_t *encoder)
{
    const blob_t *blob = blob_of(encoder);
    const point_t *point = point_of(encoder);
    uint32_t *planes = planes_of(encoder);
    for (uint32_t w = point->planes * plane_words(blob); w != 0; w--)
        planes[w - 1] = 0;
    encoder->packet.bits.window = 0;
    encoder->packet.bits.held = 0;
    encoder->packet.bits.width = point->low_bits;
    encoder->packet.bits.syndrome = (uint16_t)(0xFFFF0000u >> blob->check_bits);
    *count_of(encoder) = 0;
}

static void samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const blob_t *blob = blob_of(encoder);
    const point_t *point = point_of(encoder);
    const uint32_t taps = wz_taps(encoder), words = plane_words(blob), polynomial = polynomial_of(blob->check_bits);
    for (const int16_t *end = samples + count; samples != end; samples++) {
        uint32_t u = (uint32_t)(wz_level(encoder, (const wz_nested_point_t *)point, taps, *samples) + 32768);
        encoder->packet.bits.syndrome = (uint16_t)check_step(encoder->packet.bits.syndrome, u, polynomial);
        wz_put_bits(encoder, u, point->low_bits);
        uint32_t i = (*count_of(encoder))++, turn = u >> point->low_bits;
        uint32_t *word = planes_of(encoder) + (i >> 5);
        for (uint32_t p = point->planes; p != 0; p--, word += words, turn >>= 1)
            *word |= (turn & 1) << (i & 31);
    }
}

static void finish(wz_encoder_t *encoder)
{
    const blob_t *blob = blob_of(encoder);
    const point_t *point = point_of(encoder);
    const uint32_t count = *count_of(encoder);
    const uint32_t *set = sets_of(blob, point);
    uint32_t *plane = planes_of(encoder);
    for (uint32_t p = 0; p < point->planes; p++) {
        transform(plane, transform_bits(blob->header.packet_samples));
        for (uint32_t i = 0; i < count; i++)
            if ((set[i >> 5] >> (i & 31)) & 1)
                wz_put_bits(encoder, plane[i >> 5] >> (i & 31), 1);
        plane += plane_words(blob);
        set += set_words(blob);
    }
    wz_put_bits(encoder, (uint32_t)encoder->packet.bits.syndrome >> (16 - blob->check_bits), blob->check_bits);
    wz_fill_byte(encoder);
}

/* Blob section (SPEC 10.3). Rate points differ in length: how many planes they code. */
static uint32_t next_point(const blob_t *blob, uint32_t at)
{
    const point_t *point = (const point_t *)((const uint8_t *)blob + at);
    return at + 8 + 4u * blob->taps + 4 * point->planes * set_words(blob);
}

static uint32_t point_at(const void *blob, uint32_t rate_point)
{
    uint32_t at = sizeof(blob_t);
    for (; rate_point != 0; rate_point--)
        at = next_point((const blob_t *)blob, at);
    return at;
}

static wz_need_t need(const void *blob, uint32_t rate_point)
{
    const blob_t *section = (const blob_t *)blob;
    const point_t *point = (const point_t *)((const uint8_t *)blob + point_at(blob, rate_point));
    uint32_t sample_bits = (uint32_t)point->low_bits + point->planes;
    wz_need_t need = {section->header.packet_samples * sample_bits + section->check_bits, 4 + 4 * point->planes * plane_words(section)};
    return need;
}

static wz_status_t check_point(const blob_t *blob, uint32_t at, uint32_t end)
{
    const point_t *point = (const point_t *)((const uint8_t *)blob + at);
    if (at + 8 > end || (point->planes <= WZ_MAX_CODED_PLANES && next_point(blob, at) > end))
        return WZ_BLOB_LENGTH;
    if (point->low_bits > WZ_MAX_LOW_BITS || point->planes > WZ_MAX_CODED_PLANES || point->low_bits + point->planes < 1)
        return WZ_BLOB_FIELD;
    wz_status_t status = wz_check_filter(blob, (const wz_nested_point_t *)point);
    return status == WZ_OK && !are_sets(sets_of(blob, point), point->planes, blob->header.packet_samples) ? WZ_BLOB_TABLE : status;
}

static wz_status_t check(const void *blob, uint32_t end)
{
    const blob_t *section = (const blob_t *)blob;
    if (end < sizeof *section)
        return WZ_BLOB_LENGTH;
    wz_status_t status = wz_check_taps(blob);
    if (!is_check(section->check_bits) || section->quantizer != 0 || section->variant != 0 || section->header.level_check_bits != 0)
        status = WZ_BLOB_FIELD;
    uint32_t at = sizeof *section;
    for (uint32_t number = 0; number < section->header.rate_points && status == WZ_OK; number++) {
        status = check_point(section, at, end);
        if (status == WZ_OK)
            at = next_point(section, at);
    }
    return status == WZ_OK && at != end ? WZ_BLOB_LENGTH : status;
}

const wz_scheme_t wz_syndrome = {
    WZ_SCHEME_SYNDROME, check, point_at, need, begin, samples, wz_repeat_sample, finish,
};

#endif
