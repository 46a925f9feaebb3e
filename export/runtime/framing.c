/* See framing.h. */
#include "framing.h"

uint32_t wz_encode_frame(uint8_t *out, const uint8_t *packet, uint32_t bytes)
{
    const uint8_t *end = packet + bytes;
    uint8_t *code = out; /* where the length of the current block goes */
    uint8_t *to = out + 1;
    do {
        uint8_t byte = *packet++;
        if (to - code == 255) { /* full, and more follows */
            *code = 255;
            code = to++;
        }
        *to = byte;
        if (byte == 0) {
            *code = (uint8_t)(to - code);
            code = to;
        }
        to++;
    } while (packet != end);
    *code = (uint8_t)(to - code);
    *to++ = 0;
    return (uint32_t)(to - out);
}
