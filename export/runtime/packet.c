/* See packet.h. Fields are big-endian; they are copied backwards from little-endian memory. */
#include "packet.h"

#include "blob.h"
#include "encoder.h"
#include "framing.h"

#define HEADER_MAX 7 /* node id, header, extension flags, count */
#define CHECK_BYTES 2

static uint32_t bitmap_bytes(uint32_t slots)
{
    return (slots + 7) >> 3;
}

uint32_t wz_front_bytes(const wz_model_t *model)
{
    uint32_t front = HEADER_MAX + bitmap_bytes(wz_header(model)->packet_samples);
    return front + wz_frame_lead(front + wz_max_payload_bytes(model) + CHECK_BYTES);
}

/* CRC-16/GENIBUS without its final xor; polynomial 0x1021, a byte at a time without a table. */
static uint32_t crc16_byte(uint32_t crc, uint32_t byte)
{
    uint32_t x = (crc >> 8) ^ byte;
    x ^= x >> 4;
    return ((crc << 8) ^ (x << 12) ^ (x << 5) ^ x) & 0xFFFF;
}

static uint32_t crc16(uint32_t crc, const uint8_t *bytes, uint32_t count)
{
    for (; count != 0; count--)
        crc = crc16_byte(crc, *bytes++);
    return crc;
}

uint32_t wz_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count)
{
    for (; count != 0; count--) {
        crc ^= *bytes++;
        for (uint32_t bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
    }
    return crc;
}

/* The `count` low bytes of a number in memory, high byte first; returns the end. */
static uint8_t *put(uint8_t *out, const void *number, uint32_t count)
{
    const uint8_t *bytes = (const uint8_t *)number;
    while (count != 0)
        *out++ = bytes[--count];
    return out;
}

static uint8_t *copy(uint8_t *out, const uint8_t *bytes, uint32_t count)
{
    for (; count != 0; count--)
        *out++ = *bytes++;
    return out;
}

/* Packet counter times packet samples, mod 2^48, without a 64-bit multiplication; then what the sample index is ahead of it. */
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
    static const uint16_t none = 0;
    uint8_t context[21];
    uint32_t high = encoder->packet_counter >> 8;
    uint8_t *end = put(context, encoder->node->link & WZ_LINK_SHARED ? &none : &encoder->node->node_id, 2);
    end = copy(end, encoder->model->id, WZ_MODEL_ID_BYTES);
    end = put(end, &encoder->node->boot_epoch, 2);
    end = put_base_index(end, encoder);
    end = put(end, &high, 3);
    return (uint16_t)crc16(0xFFFF, context, (uint32_t)(end - context));
}

/* Header, and on a shared link the node id, in front of `at`; returns the start of the packet. */
static uint8_t *put_header(const wz_encoder_t *encoder, uint8_t *at, uint32_t type, uint32_t rate_point, uint32_t extension)
{
    uint32_t sequence = encoder->packet_counter & 255, node_id = encoder->node->node_id;
    *--at = (uint8_t)((sequence << 1) | extension);
    *--at = (uint8_t)((WZ_PACKET_VERSION << 6) | (type << 4) | (rate_point << 1) | (sequence >> 7));
    if (encoder->node->link & WZ_LINK_SHARED) {
        *--at = (uint8_t)node_id;
        if (node_id > 127)
            *--at = (uint8_t)(0x80 | (node_id >> 8));
    }
    return at;
}

/* The packet start..end becomes the frame that waits. */
static void close(wz_encoder_t *encoder, uint8_t *start, const uint8_t *end)
{
    uint32_t bytes = (uint32_t)(end - start);
    if (!(encoder->node->link & WZ_LINK_PACKETS)) {
        uint8_t *frame = start - wz_frame_lead(bytes);
        bytes = wz_encode_frame(frame, start, bytes);
        start = frame;
    }
    encoder->packet.frame.lead = (uint16_t)(encoder->payload - start);
    encoder->packet.frame.bytes = (uint16_t)bytes;
}

void wz_mark_absent(wz_encoder_t *encoder)
{
    uint8_t *bitmap = encoder->payload - bitmap_bytes(wz_header(encoder->model)->packet_samples);
    if (!(encoder->flags & WZ_FLAG_ABSENT)) {
        encoder->flags |= WZ_FLAG_ABSENT;
        for (uint8_t *byte = bitmap; byte != encoder->payload; byte++)
            *byte = 0;
    }
    bitmap[encoder->slot >> 3] |= (uint8_t)(0x80 >> (encoder->slot & 7));
}

/* Extension section (SPEC 2.4), if there is need of one; returns where it begins. */
static uint8_t *put_extension(const wz_encoder_t *encoder)
{
    uint32_t slots = wz_header(encoder->model)->packet_samples, flags = 0;
    uint8_t *at = encoder->payload;
    if (encoder->flags & WZ_FLAG_ABSENT) { /* the bitmap lies there in the length of a full packet */
        const uint8_t *bitmap = at - bitmap_bytes(slots);
        for (uint32_t i = bitmap_bytes(encoder->slot); i != 0; i--)
            *--at = bitmap[i - 1];
        flags = WZ_EXT_ABSENT;
    }
    if (encoder->slot != slots) {
        at -= 2;
        put(at, &encoder->slot, 2);
        flags |= WZ_EXT_SHORT;
    }
    if (flags != 0)
        *--at = (uint8_t)flags;
    return at;
}

/* Which rate point begins at encoder->point. */
static uint32_t packet_rate_point(const wz_encoder_t *encoder)
{
    uint32_t rate_point = 0;
    while (wz_point_offset(encoder->model, rate_point) != encoder->point)
        rate_point++;
    return rate_point;
}

void wz_pack_data(wz_encoder_t *encoder)
{
    uint8_t *extension = put_extension(encoder), *end = encoder->payload + encoder->position;
    uint8_t *start = put_header(encoder, extension, WZ_TYPE_DATA, packet_rate_point(encoder), extension != encoder->payload);
    uint16_t check = (uint16_t)~crc16(encoder->seed, start, (uint32_t)(end - start));
    close(encoder, start, put(end, &check, CHECK_BYTES));
}

void wz_pack_hello(wz_encoder_t *encoder)
{
    const wz_node_t *node = encoder->node;
    uint8_t *start = put_header(encoder, encoder->payload + 2, WZ_TYPE_HELLO, encoder->rate_point, 0);
    uint8_t *end = put(encoder->payload + 2, &node->node_id, 2);
    end = copy(put(end, &node->boot_epoch, 2), encoder->model->id, WZ_MODEL_ID_BYTES);
    end = put(end, &encoder->packet_counter, 4);
    end = put(put(end, &encoder->index_high, 2), &encoder->index_low, 4);
    end = put(put(end, &node->period_us, 5), &node->start_ms, 6);
    uint32_t check = ~wz_crc32(~(uint32_t)0, start, (uint32_t)(end - start));
    close(encoder, start, put(end, &check, 4));
}
