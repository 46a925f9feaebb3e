/* Frames on a byte stream (SPEC 7): COBS (Cheshire and Baker) with a zero byte behind each packet. */
#ifndef WZ_FRAMING_H
#define WZ_FRAMING_H

#include "wz.h"

/* How far in front of a packet its frame has to begin, so that it can be written over it: never less than what COBS adds. */
static inline uint32_t wz_frame_lead(uint32_t packet_bytes)
{
    return 1 + (packet_bytes >> 7);
}

/* Frame of packet[0..bytes-1], bytes >= 1, into `out`, delimiter included; returns its size. `out` = packet - wz_frame_lead(bytes) is allowed. */
uint32_t wz_encode_frame(uint8_t *out, const uint8_t *packet, uint32_t bytes);

#endif
