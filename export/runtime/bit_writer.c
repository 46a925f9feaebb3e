/* See bit_writer.h. */
#include "bit_writer.h"

#if WZ_WITH_BITS

#if WZ_WITH_PUT_BITS

void wz_put_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n)
{
    wz_append_bits(encoder, value & (((uint32_t)1 << n) - 1), n);
}

#endif

void wz_fill_byte(wz_encoder_t *encoder)
{
    if (encoder->packet.bits.held != 0)
        encoder->payload[encoder->position++] = (uint8_t)(encoder->packet.bits.window << (8 - encoder->packet.bits.held));
}

#endif
