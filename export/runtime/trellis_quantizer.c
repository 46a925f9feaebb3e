/* Scheme `trellis` (SPEC 9): the rounding of `nested`, low bits and one syndrome bit; tail-biting per packet. */
#include "bit_writer.h"
#include "convolution.h"
#include "fir.h"
#include "fixed_point.h"
#include "level_check.h"
#include "nested_quantizer.h"

#if WZ_WITH_TRELLIS

static void samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const wz_trellis_blob_t *blob = (const wz_trellis_blob_t *)encoder->model->blob;
    const wz_nested_point_t *point = (const wz_nested_point_t *)wz_point(encoder);
    const uint32_t taps = wz_taps(encoder);
    const int16_t *end = samples + count;
    do {
        uint32_t u = (uint32_t)wz_level(encoder, point, taps, *samples++) ^ 32768, width = encoder->packet.bits.width;
        uint32_t turn = (u & 65535) >> width;
#if WZ_WITH_LEVEL_CHECK
        if (blob->header.level_check_bits != 0)
            encoder->source.filter.check = (uint8_t)wz_check_step(encoder->source.filter.check, turn & 255);
#endif
        uint32_t state = wz_syndrome_step(encoder->packet.bits.syndrome, turn, blob->h0, blob->h1);
        encoder->packet.bits.syndrome = state >> 1;
        wz_append_bits(encoder, ((u & (point->modulus - 1u)) << 1) | (state & 1), width + 1);
    } while (samples != end);
}

/* Tail-biting: what the register still holds is added to the first syndromes, round and round, in the payload itself. The syndrome is the
 * last bit of each index. */
static void fold_register(wz_encoder_t *encoder, uint32_t payload_bits)
{
    uint32_t width = encoder->packet.bits.width, at = width;
    for (uint32_t left = encoder->packet.bits.syndrome; left != 0 && payload_bits != 0; left >>= 1) {
        encoder->payload[at >> 3] ^= (uint8_t)((left & 1) << (7 - (at & 7)));
        at += width + 1;
        if (at >= payload_bits)
            at = width;
    }
}

static void finish(wz_encoder_t *encoder)
{
    uint32_t payload_bits = 8u * encoder->position + encoder->packet.bits.held;
    wz_filtered_finish(encoder);
    fold_register(encoder, payload_bits);
}

/* The two have no common factor mod 2. */
static int are_coprime(uint32_t a, uint32_t b)
{
    while (b != 0) {
        while (wz_bit_length(a) >= wz_bit_length(b))
            a ^= b << (wz_bit_length(a) - wz_bit_length(b));
        uint32_t rest = a;
        a = b;
        b = rest;
    }
    return a == 1;
}

/* The code is k codes that take turns, and each of them has no more states than a decoder holds. */
static int is_held(uint32_t memory, uint32_t taps)
{
    for (uint32_t k = 1; k <= memory; k++) {
        uint32_t others = taps;
        for (uint32_t place = 0; place <= memory; place += k)
            others &= ~((uint32_t)1 << place);
        if (others == 0 && memory <= k * WZ_MAX_CHAIN_MEMORY)
            return 1;
    }
    return 0;
}

/* Blob section (SPEC 9.3). Each syndrome has to leave two of the four cosets in each state, and every syndrome has to be possible. */
static int is_code(const wz_trellis_blob_t *blob)
{
    uint32_t h0 = blob->h0, h1 = blob->h1;
    if (blob->memory < WZ_MIN_MEMORY || blob->memory > WZ_MAX_MEMORY || blob->quantizer != 0 || blob->variant != 0)
        return 0;
    if (h0 >> blob->memory != 1 || (h0 & 1) == 0 || h1 == 0 || h1 >> blob->memory != 0 || (h1 & 1) != 0)
        return 0;
    return is_held(blob->memory, h0 | h1) && are_coprime(h0, h1);
}

static uint32_t point_at(const void *blob, uint32_t rate_point)
{
    return sizeof(wz_trellis_blob_t) + rate_point * (8 + 4u * ((const wz_trellis_blob_t *)blob)->taps);
}

static const wz_nested_point_t *point_of(const void *blob, uint32_t rate_point)
{
    return (const wz_nested_point_t *)((const uint8_t *)blob + point_at(blob, rate_point));
}

static wz_need_t need(const void *blob, uint32_t rate_point)
{
    const wz_blob_header_t *header = (const wz_blob_header_t *)blob;
    uint32_t width = wz_bit_length(point_of(blob, rate_point)->modulus);
    wz_need_t need = {header->packet_samples * width + header->level_check_bits, 0};
    return need;
}

static wz_status_t check(const void *blob, uint32_t end)
{
    const wz_trellis_blob_t *section = (const wz_trellis_blob_t *)blob;
    if (end < sizeof *section)
        return WZ_BLOB_LENGTH;
    wz_status_t status = is_code(section) ? wz_check_taps(blob) : WZ_BLOB_FIELD;
    if (status == WZ_OK && point_at(blob, section->header.rate_points) != end)
        status = WZ_BLOB_LENGTH;
    for (uint32_t number = 0; number < section->header.rate_points && status == WZ_OK; number++) {
        uint32_t q = point_of(blob, number)->modulus;
        if (q < 1 || q > WZ_MAX_TRELLIS_MODULUS || (q & (q - 1)) != 0)
            return WZ_BLOB_FIELD;
        status = wz_check_filter(blob, point_of(blob, number));
    }
    return status;
}

const wz_scheme_t wz_trellis = {
    WZ_SCHEME_TRELLIS, check, point_at, need, wz_filtered_begin, samples, wz_repeat_sample, finish,
};

#endif
