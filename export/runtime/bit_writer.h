/* Bit packing (SPEC 1.1): encoder->packet.bits holds the bits of the last, unfinished byte. They stay in memory from sample to sample: the
 * small cores have too few registers to gain by anything else, and wz_encode_sample would load and store them anyway. */
#ifndef WZ_BIT_WRITER_H
#define WZ_BIT_WRITER_H

#include "wz.h"

/* Append the n <= 16 bits of `value`, above which there are none. */
static inline void wz_append_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n)
{
    uint32_t window = (encoder->packet.bits.window << n) | value, held = encoder->packet.bits.held + n;
    encoder->packet.bits.window = (uint8_t)window;
    if (held >= 8) {
        if (held >= 16) {
            encoder->payload[encoder->position++] = (uint8_t)(window >> (held - 8));
            held -= 8;
        }
        held -= 8;
        encoder->payload[encoder->position++] = (uint8_t)(window >> held);
    }
    encoder->packet.bits.held = (uint8_t)held;
}

/* Append the n <= 16 low bits of `value`; what is above them does not matter. */
void wz_put_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n);

/* Fill the last byte with zero bits. */
void wz_fill_byte(wz_encoder_t *encoder);

#endif
