/* See packet.h. Everything grows downwards from the payload, so that nothing of it is moved. */
#include "packet.h"

#include "encoder.h"
#include "framing.h"
#include "sections.h"

/* Polynomial 0x1021, a byte at a time without a table. */
uint32_t wz_crc16(uint32_t crc, const uint8_t *bytes, uint32_t count)
{
    const uint8_t *end = bytes + count;
    do {
        uint32_t x = (crc >> 8) ^ *bytes++;
        x ^= x >> 4;
        crc = ((crc << 8) ^ (x << 12) ^ (x << 5) ^ x) & 0xFFFF;
    } while (bytes != end);
    return crc;
}

uint8_t *wz_put_header(const wz_encoder_t *encoder, uint8_t *at, uint32_t kind, uint32_t extension)
{
    uint32_t sequence = (uint8_t)encoder->packet_counter;
    uint32_t header = (WZ_PACKET_VERSION << 14) | (kind << 8) | (sequence << 1) | extension;
    *--at = (uint8_t)header;
    *--at = (uint8_t)(header >> 8);
    if (encoder->node->link & WZ_LINK_SHARED) {
        uint32_t node_id = encoder->node->node_id;
        *--at = (uint8_t)node_id;
        if (node_id > 127)
            *--at = (uint8_t)(0x80 | (node_id >> 8));
    }
    return at;
}

void wz_close_packet(wz_encoder_t *encoder, uint8_t *start, const uint8_t *end)
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
    uint8_t *bitmap = encoder->payload - wz_bitmap_bytes(wz_header(encoder->model)->packet_samples);
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
    uint32_t slots = wz_header(encoder->model)->packet_samples, slot = encoder->slot, flags = 0;
    uint8_t *at = encoder->payload;
    if (encoder->flags & WZ_FLAG_ABSENT) { /* the bitmap lies there in the length of a full packet */
        const uint8_t *bitmap = at - wz_bitmap_bytes(slots);
        for (uint32_t i = wz_bitmap_bytes(slot); i != 0; i--)
            *--at = bitmap[i - 1];
        flags = WZ_EXT_ABSENT;
    }
    if (slot != slots) {
        *--at = (uint8_t)slot;
        *--at = (uint8_t)(slot >> 8);
        flags |= WZ_EXT_SHORT;
    }
    if (flags != 0)
        *--at = (uint8_t)flags;
    return at;
}

void wz_pack_data(wz_encoder_t *encoder)
{
    uint8_t *extension = put_extension(encoder), *end = encoder->payload + encoder->position;
    uint32_t kind = (WZ_TYPE_DATA << 4) | ((encoder->flags & WZ_RATE_MASK) >> (WZ_RATE_SHIFT - 1));
    uint8_t *start = wz_put_header(encoder, extension, kind, extension != encoder->payload);
    uint32_t check = ~wz_crc16(encoder->seed, start, (uint32_t)(end - start));
    *end++ = (uint8_t)(check >> 8);
    *end++ = (uint8_t)check;
    wz_close_packet(encoder, start, end);
}
