/* See bit_writer.h. */
#include "bit_writer.h"

#if WZ_WITH_BITS

void wz_put_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n)
{
    uint32_t held = encoder->packet.bits.held, window = encoder->packet.bits.window;
    if (n == 0)
        return;
    window |= (value << (32 - n)) >> held;
    for (held += n; held >= 8; held -= 8) {
        encoder->payload[encoder->position++] = (uint8_t)(window >> 24);
        window <<= 8;
    }
    encoder->packet.bits.window = window;
    encoder->packet.bits.held = (uint8_t)held;
}

void wz_fill_byte(wz_encoder_t *encoder)
{
    if (encoder->packet.bits.held != 0)
        wz_put_bits(encoder, 0, 8u - encoder->packet.bits.held);
}

#endif
