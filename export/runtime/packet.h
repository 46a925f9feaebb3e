/* Packets (SPEC 2): header, extension, checks; the hello is in hello.c. */
#ifndef WZ_PACKET_H
#define WZ_PACKET_H

#include "wz.h"

#define WZ_HEADER_MAX 7 /* node id, header, extension flags, count */
#define WZ_CHECK_BYTES 2

static inline uint32_t wz_bitmap_bytes(uint32_t slots)
{
    return (slots + 7) >> 3;
}

/* CRC-16/GENIBUS without its final xor; it begins with 0xFFFF. At least one byte. */
uint32_t wz_crc16(uint32_t crc, const uint8_t *bytes, uint32_t count);

/* CRC-32/ISO-HDLC: begin with ~0, invert at the end. */
uint32_t wz_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count);

/* Header, and on a shared link the node id, in front of `at`; returns the start of the packet. `kind`: type * 16 + rate point * 2. */
uint8_t *wz_put_header(const wz_encoder_t *encoder, uint8_t *at, uint32_t kind, uint32_t extension);

/* The packet start..end becomes the frame that waits: encoder->packet.frame. */
void wz_close_packet(wz_encoder_t *encoder, uint8_t *start, const uint8_t *end);

/* Mark the current slot as absent. */
void wz_mark_absent(wz_encoder_t *encoder);

/* The payload of encoder->position bytes, of encoder->slot slots, becomes a whole packet. */
void wz_pack_data(wz_encoder_t *encoder);

/* A hello in place of the payload. */
void wz_pack_hello(wz_encoder_t *encoder);

/* CRC state after the context (SPEC 2.3) of the packet being filled. */
uint16_t wz_context_seed(const wz_encoder_t *encoder);

#endif
