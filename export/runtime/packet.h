/* Packets (SPEC 2): header, extension, checks, hello. */
#ifndef WZ_PACKET_H
#define WZ_PACKET_H

#include "wz.h"

/* Bytes that may lie between the start of the buffer and the payload. */
uint32_t wz_front_bytes(const wz_model_t *model);

/* CRC state after the context (SPEC 2.3) of the packet being filled. */
uint16_t wz_context_seed(const wz_encoder_t *encoder);

/* Mark the current slot as absent. */
void wz_mark_absent(wz_encoder_t *encoder);

/* The payload of encoder->position bytes, of encoder->slot slots, becomes a whole packet and frame: encoder->packet.frame. */
void wz_pack_data(wz_encoder_t *encoder);

/* A hello in place of the payload: encoder->packet.frame. */
void wz_pack_hello(wz_encoder_t *encoder);

/* CRC-32/ISO-HDLC: begin with ~0, invert at the end. */
uint32_t wz_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count);

#endif
