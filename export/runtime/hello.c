/* The hello packet (SPEC 2.2), and the context that both ends know and nobody sends (SPEC 2.3). */
#include "packet.h"
#include "sections.h"

#define CONTEXT_BYTES 21
#define HEADER_BYTES 2

uint32_t wz_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count)
{
    for (const uint8_t *end = bytes + count; bytes != end;) {
        crc ^= *bytes++;
        for (uint32_t bit = 8; bit != 0; bit--)
            crc = crc & 1 ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
    }
    return crc;
}

/* The `count` low bytes of a number in (little-endian) memory, high byte first; returns the end. */
static uint8_t *put(uint8_t *out, const void *number, uint32_t count)
{
    const uint8_t *bytes = (const uint8_t *)number + count;
    while (bytes != number)
        *out++ = *--bytes;
    return out;
}

static uint8_t *put_model_id(uint8_t *out, const wz_encoder_t *encoder)
{
    for (uint32_t i = 0; i < WZ_MODEL_ID_BYTES; i++)
        *out++ = encoder->model->id[i];
    return out;
}

/* The base index: how far the sample index is ahead of packet counter times packet samples, mod 2^48, without a 64-bit multiplication. */
static uint8_t *put_base_index(uint8_t *out, const wz_encoder_t *encoder)
{
    uint32_t slots = wz_header(encoder->model)->packet_samples;
    uint32_t upper = (encoder->packet_counter >> 16) * slots;
    uint32_t low = (encoder->packet_counter & 0xFFFF) * slots;
    uint32_t high = upper >> 16;
    upper <<= 16;
    low += upper;
    high += low < upper;
    high = encoder->index_high - high - (encoder->index_low < low);
    low = encoder->index_low - low;
    return put(put(out, &high, 2), &low, 4);
}

uint16_t wz_context_seed(const wz_encoder_t *encoder)
{
    uint8_t context[CONTEXT_BYTES];
    uint32_t counter_high = encoder->packet_counter >> 8;
    uint32_t node_id = encoder->node->link & WZ_LINK_SHARED ? 0 : encoder->node->node_id;
    uint8_t *end = put_model_id(put(context, &node_id, 2), encoder);
    end = put_base_index(put(end, &encoder->node->boot_epoch, 2), encoder);
    put(end, &counter_high, 3);
    return (uint16_t)wz_crc16(0xFFFF, context, CONTEXT_BYTES);
}

void wz_pack_hello(wz_encoder_t *encoder)
{
    const wz_node_t *node = encoder->node;
    uint8_t *end = encoder->payload + HEADER_BYTES;
    uint8_t *start = wz_put_header(encoder, end, (WZ_TYPE_HELLO << 4) | ((uint32_t)encoder->rate_point << 1), 0);
    end = put_model_id(put(put(end, &node->node_id, 2), &node->boot_epoch, 2), encoder);
    end = put(put(end, &encoder->packet_counter, 4), &encoder->index_high, 2);
    end = put(put(put(end, &encoder->index_low, 4), &node->period_us, 5), &node->start_ms, 6);
    uint32_t check = ~wz_crc32(~(uint32_t)0, start, (uint32_t)(end - start));
    wz_close_packet(encoder, start, put(end, &check, 4));
}
