/* Blob section of `nested` (SPEC 5.1), and what all schemes with a filter check alike. */
#include "fixed_point.h"
#include "nested_quantizer.h"
#include "sections.h"

static uint32_t magnitude(int32_t v)
{
    return v < 0 ? 0 - (uint32_t)v : (uint32_t)v;
}

int wz_fits_32_bits(const int32_t *weights, uint32_t count, int32_t bias, uint32_t margin)
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

wz_status_t wz_check_taps(const void *blob)
{
    uint32_t taps = ((const wz_nested_blob_t *)blob)->taps;
    if (taps < 1 || taps > WZ_MAX_TAPS)
        return WZ_BLOB_FIELD;
    return taps > WZ_TAPS ? WZ_BLOB_SCHEME : WZ_OK;
}

wz_status_t wz_check_filter(const void *blob, const wz_nested_point_t *point)
{
    uint32_t taps = ((const wz_nested_blob_t *)blob)->taps, any = 0;
    for (uint32_t i = 0; i < taps; i++)
        any |= (uint32_t)point->tap[i];
    if (any == 0 || point->shift > WZ_MAX_SHIFT || point->zero != 0)
        return WZ_BLOB_FIELD;
    return wz_fits_32_bits(point->tap, taps, point->rounding, 0) ? WZ_OK : WZ_BLOB_OVERFLOW;
}

#endif

#if WZ_WITH_NESTED

uint32_t wz_nested_at(const void *blob, uint32_t rate_point)
{
    return sizeof(wz_nested_blob_t) + rate_point * (8 + 4u * ((const wz_nested_blob_t *)blob)->taps);
}

/* A coder loses less than 1/16 bit per sample, and at most 5 bytes at the end. */
wz_need_t wz_nested_need(const void *blob, uint32_t rate_point)
{
    const wz_blob_header_t *header = (const wz_blob_header_t *)blob;
    const wz_nested_point_t *point = (const wz_nested_point_t *)((const uint8_t *)blob + wz_nested_at(blob, rate_point));
    uint32_t coder = WZ_WITH_CODED_BINS ? 40u + (header->packet_samples >> 4) : 0;
    wz_need_t need = {header->packet_samples * wz_bit_length(point->modulus - 1u) + header->level_check_bits + coder, 0};
    return need;
}

static wz_status_t check_modulus(uint32_t modulus)
{
    uint32_t coded = (modulus & (modulus - 1)) != 0;
    if (modulus < 2 || modulus > (coded ? WZ_MAX_CODED_MODULUS : WZ_MAX_MODULUS))
        return WZ_BLOB_FIELD;
    return coded && !WZ_WITH_CODED_BINS ? WZ_BLOB_SCHEME : WZ_OK;
}

wz_status_t wz_nested_check(const void *blob, uint32_t end)
{
    const wz_nested_blob_t *section = (const wz_nested_blob_t *)blob;
    if (end < sizeof *section)
        return WZ_BLOB_LENGTH;
    wz_status_t status = wz_check_taps(blob);
    if ((section->zero[0] | section->zero[1] | section->zero[2]) != 0)
        status = WZ_BLOB_FIELD;
    if (status == WZ_OK && wz_nested_at(blob, section->header.rate_points) != end)
        status = WZ_BLOB_LENGTH;
    for (uint32_t number = 0; number < section->header.rate_points && status == WZ_OK; number++) {
        const wz_nested_point_t *point = (const wz_nested_point_t *)((const uint8_t *)blob + wz_nested_at(blob, number));
        status = check_modulus(point->modulus);
        if (status == WZ_OK)
            status = wz_check_filter(blob, point);
    }
    return status;
}

#endif
