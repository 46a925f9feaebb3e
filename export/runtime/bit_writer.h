/* Bit packing (SPEC 1.1): encoder->packet.bits holds the bits of the last, unfinished byte. */
#ifndef WZ_BIT_WRITER_H
#define WZ_BIT_WRITER_H

#include "wz.h"

/* Append the n <= 16 low bits of `value`; what is above them does not matter. */
void wz_put_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n);

/* Fill the last byte with zero bits. */
void wz_fill_byte(wz_encoder_t *encoder);

#endif
