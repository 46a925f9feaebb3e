/* Nested quantizer (SPEC 3): filter, round, keep the bin, pack it. A modulus that is no power of two goes through the range coder. */
#include "bit_writer.h"
#include "fir.h"
#include "fixed_point.h"
#include "level_check.h"
#include "nested_quantizer.h"
#include "range_coder.h"

#if WZ_WITH_NESTED || WZ_WITH_TRELLIS

void wz_filtered_begin(wz_encoder_t *encoder)
{
    const wz_nested_point_t *point = (const wz_nested_point_t *)wz_point(encoder);
    encoder->packet.bits.window = 0;
    encoder->packet.bits.syndrome = 0;
    encoder->packet.bits.held = 0;
    encoder->packet.bits.width = (uint8_t)wz_bit_length(point->modulus - 1u);
    encoder->source.filter.check = WZ_CHECK_INIT;
}

#if WZ_WITH_LEVEL_CHECK
void wz_filtered_finish(wz_encoder_t *encoder)
{
    uint32_t bits = wz_header(encoder->model)->level_check_bits;
    wz_put_bits(encoder, wz_check_fold(encoder->source.filter.check, bits), bits);
    wz_fill_byte(encoder);
}
#endif

#endif

#if WZ_WITH_NESTED

#if WZ_WITH_CODED_BINS

static uint32_t modulus_of(const wz_encoder_t *encoder)
{
    return ((const wz_nested_point_t *)wz_point(encoder))->modulus;
}

static int is_coded(const wz_encoder_t *encoder)
{
    return (modulus_of(encoder) & (modulus_of(encoder) - 1)) != 0;
}

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

static void encode_samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
    const uint32_t modulus = modulus_of(encoder), reciprocal = encoder->source.filter.reciprocal, taps = wz_taps(encoder);
    for (const int16_t *end = samples + count; samples != end; samples++) {
        uint32_t u = (uint32_t)(wz_level(encoder, (const wz_nested_point_t *)wz_point(encoder), taps, *samples) + 32768);
        uint32_t turn = (u * ((reciprocal >> 12) + 1)) >> 16; /* SPEC 3.1; 2^16 div J = (2^28 div J) div 2^12 */
        if (turn * modulus > u)
            turn--;
        uint32_t bin = u - turn * modulus, start = flat_cdf(bin, modulus, reciprocal);
        wz_encode_symbol(encoder, start, flat_cdf(bin + 1, modulus, reciprocal) - start, WZ_FLAT_CDF_BITS);
        encoder->source.filter.check = (uint8_t)wz_check_step(encoder->source.filter.check, turn);
    }
}

#endif

/* The bins of a power of two, packed: the loop that most nodes spend their life in. */
static void samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count)
{
#if WZ_WITH_CODED_BINS
    if (is_coded(encoder)) {
        encode_samples(encoder, samples, count);
        return;
    }
#endif
    const wz_nested_point_t *point = (const wz_nested_point_t *)wz_point(encoder);
    const uint32_t taps = wz_taps(encoder);
    const int16_t *end = samples + count;
    do {
        uint32_t level = (uint32_t)wz_level(encoder, point, taps, *samples++), width = encoder->packet.bits.width;
#if WZ_WITH_LEVEL_CHECK
        if (wz_header(encoder->model)->level_check_bits != 0)
            encoder->source.filter.check = (uint8_t)wz_check_step(encoder->source.filter.check, ((level + 32768) >> width) & 255);
#endif
        wz_append_bits(encoder, level & (point->modulus - 1u), width); /* that of level + 32768, as the modulus is at most 32768 */
    } while (samples != end);
}

#if WZ_WITH_CODED_BINS

static void begin(wz_encoder_t *encoder)
{
    wz_filtered_begin(encoder);
    if (is_coded(encoder)) {
        encoder->source.filter.reciprocal = reciprocal_of(modulus_of(encoder));
        wz_start_coder(encoder);
    }
}

static void finish(wz_encoder_t *encoder)
{
    if (is_coded(encoder)) {
        uint32_t bits = wz_header(encoder->model)->level_check_bits;
        wz_encode_bits(encoder, wz_check_fold(encoder->source.filter.check, bits), bits);
        wz_finish_coder(encoder);
    } else {
        wz_filtered_finish(encoder);
    }
}

#else
#define begin wz_filtered_begin
#define finish wz_filtered_finish
#endif

const wz_scheme_t wz_nested = {
    WZ_SCHEME_NESTED, wz_nested_check, wz_nested_at, wz_nested_need, begin, samples, wz_repeat_sample, finish,
};

#endif
