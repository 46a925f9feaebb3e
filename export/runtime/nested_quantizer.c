/* See nested_quantizer.h. */
#include "nested_quantizer.h"

#include "blob.h"
#include "convolution.h"
#include "fir.h"
#include "fixed_point.h"
#include "level_check.h"
#include "range_coder.h"

#if WZ_WITH_FILTERED

static const wz_nested_point_t *point_of(const wz_encoder_t *encoder)
{
    return (const wz_nested_point_t *)((const uint8_t *)encoder->model->blob + encoder->point);
}

/* `taps` is at the same place in both blobs. */
static uint32_t taps_of(const wz_encoder_t *encoder)
{
    return ((const wz_nested_blob_t *)encoder->model->blob)->taps;
}

#if WZ_WITH_TRELLIS
static const wz_trellis_blob_t *code_of(const wz_encoder_t *encoder)
{
    const wz_trellis_blob_t *blob = (const wz_trellis_blob_t *)encoder->model->blob;
    return blob->header.scheme == WZ_SCHEME_TRELLIS ? blob : (const wz_trellis_blob_t *)0;
}
#endif

static int is_coded(uint32_t modulus)
{
    return WZ_WITH_CODED_BINS && (modulus & (modulus - 1)) != 0;
}

/* level + 32768, within 0 .. 65535; the rare saturation is counted. */
static uint32_t saturated_level(wz_encoder_t *encoder, int32_t raw)
{
    encoder->saturated += encoder->saturated < 0x7FFFFFFF;
    return raw < 0 ? 0 : 65535;
}

static inline uint32_t level_of(wz_encoder_t *encoder, int32_t raw)
{
    return raw == (int16_t)raw ? (uint32_t)(raw + 32768) : saturated_level(encoder, raw);
}

void wz_put_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n)
{
    uint32_t held = encoder->packet.bits.held + n;
    uint32_t window = (encoder->packet.bits.window << n) | value;
    for (; held >= 8; encoder->position++) {
        held -= 8;
        encoder->payload[encoder->position] = (uint8_t)(window >> held);
    }
    encoder->packet.bits.held = (uint8_t)held;
    encoder->packet.bits.window = window;
}

#if WZ_WITH_CODED_BINS

/* 2^28 div modulus, bit by bit; once per packet. */
static uint32_t reciprocal_of(uint32_t modulus)
{
    uint32_t quotient = 0, rest = 1;
    for (uint32_t i = 0; i < 28; i++) {
        rest <<= 1;
        quotient <<= 1;
        if (rest >= modulus) {
            rest -= modulus;
            quotient |= 1;
        }
    }
    return quotient;
}

/* (bin * 2^14) div modulus (SPEC 3.3). The estimate is at most one short, as bin / 2^14 < 1; bin * reciprocal <= 2^28. */
static uint32_t flat_cdf(uint32_t bin, uint32_t modulus, uint32_t reciprocal)
{
    uint32_t estimate = (bin * reciprocal) >> WZ_FLAT_CDF_BITS;
    return (estimate + 1) * modulus <= bin << WZ_FLAT_CDF_BITS ? estimate + 1 : estimate;
}

static void encode_level(wz_encoder_t *encoder, uint32_t u, uint32_t modulus)
{
    uint32_t reciprocal = encoder->source.filter.reciprocal;
    uint32_t turn = (u * ((reciprocal >> 12) + 1)) >> 16; /* SPEC 3.1; 2^16 div J = (2^28 div J) div 2^12 */
    if (turn * modulus > u)
        turn--;
    uint32_t bin = u - turn * modulus;
    uint32_t start = flat_cdf(bin, modulus, reciprocal);
    wz_encode_symbol(encoder, start, flat_cdf(bin + 1, modulus, reciprocal) - start, WZ_FLAT_CDF_BITS);
    encoder->source.filter.check = (uint8_t)wz_check_step(encoder->source.filter.check, turn);
}

#endif

void wz_nested_begin(wz_encoder_t *encoder)
{
    uint32_t modulus = point_of(encoder)->modulus;
    encoder->source.filter.check = WZ_CHECK_INIT;
    encoder->packet.bits.window = 0;
    encoder->packet.bits.held = 0;
    encoder->packet.bits.syndrome = 0;
#if WZ_WITH_CODED_BINS
    if (is_coded(modulus)) {
        encoder->source.filter.reciprocal = reciprocal_of(modulus);
        wz_start_coder(encoder);
    }
#else
    (void)modulus;
#endif
}

void wz_nested_absent(wz_encoder_t *encoder)
{
    wz_repeat_sample(taps_of(encoder), encoder->source.filter.history);
}

void wz_nested_samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const wz_nested_point_t *point = point_of(encoder);
    const uint32_t taps = taps_of(encoder), bits = wz_bit_length(point->modulus) - 1;
    for (; count != 0; count--) {
        int32_t acc = wz_filter_sample(*samples++, point->tap, taps, point->rounding, encoder->source.filter.history);
        uint32_t u = level_of(encoder, acc >> point->shift);
#if WZ_WITH_CODED_BINS
        if (is_coded(point->modulus)) {
            encode_level(encoder, u, point->modulus);
            continue;
        }
#endif
        uint32_t low = u & (point->modulus - 1), turn = u >> bits;
#if WZ_WITH_LEVEL_CHECK
        if (wz_header(encoder->model)->level_check_bits != 0)
            encoder->source.filter.check = (uint8_t)wz_check_step(encoder->source.filter.check, turn);
#endif
#if WZ_WITH_TRELLIS
        const wz_trellis_blob_t *code = code_of(encoder);
        if (code) {
            uint32_t state = wz_syndrome_step(encoder->packet.bits.syndrome, turn, code->h0, code->h1);
            encoder->packet.bits.syndrome = (uint16_t)(state >> 1);
            wz_put_bits(encoder, (low << 1) | (state & 1), bits + 1);
            continue;
        }
#endif
        wz_put_bits(encoder, low, bits);
    }
}

#if WZ_WITH_TRELLIS
/* Tail-biting: what the register still holds is added to the first syndromes, round and round, in the payload itself. `width`: bits of an
 * index, whose last one is the syndrome. */
static void fold_register(wz_encoder_t *encoder, uint32_t width, uint32_t payload_bits)
{
    uint32_t at = width - 1;
    for (uint32_t left = encoder->packet.bits.syndrome; left != 0 && payload_bits != 0; left >>= 1) {
        encoder->payload[at >> 3] ^= (uint8_t)((left & 1) << (7 - (at & 7)));
        at += width;
        if (at >= payload_bits)
            at = width - 1;
    }
}
#endif

void wz_nested_finish(wz_encoder_t *encoder)
{
    const wz_blob_header_t *header = wz_header(encoder->model);
    uint32_t modulus = point_of(encoder)->modulus, check_bits = header->level_check_bits;
    uint32_t check = wz_check_fold(encoder->source.filter.check, check_bits);
#if WZ_WITH_CODED_BINS
    if (is_coded(modulus)) {
        if (check_bits != 0)
            wz_encode_bits(encoder, check, check_bits);
        wz_finish_coder(encoder);
        return;
    }
#endif
    uint32_t payload_bits = 8u * encoder->position + encoder->packet.bits.held;
    if (check_bits != 0)
        wz_put_bits(encoder, check, check_bits);
    if (encoder->packet.bits.held != 0)
        wz_put_bits(encoder, 0, 8u - encoder->packet.bits.held);
#if WZ_WITH_TRELLIS
    if (code_of(encoder))
        fold_register(encoder, wz_bit_length(modulus), payload_bits);
#else
    (void)payload_bits;
    (void)modulus;
#endif
}

#endif
