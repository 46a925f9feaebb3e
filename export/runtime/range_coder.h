/* The range coder of SPEC 1.2, encoder only: 32 bits, carry, bytes, power-of-two totals, shortest finish.
 *
 * State: encoder->packet.coder and encoder->position; bytes go to encoder->payload, which is long enough for any packet of a model that was
 * opened, so nothing here asks for space. */
#ifndef WZ_RANGE_CODER_H
#define WZ_RANGE_CODER_H

#include "wz.h"

void wz_start_coder(wz_encoder_t *encoder);

/* Encode [start, start + size) of 2^total_bits, total_bits <= 16. */
void wz_encode_symbol(wz_encoder_t *encoder, uint32_t start, uint32_t size, uint32_t total_bits);

/* The n <= 16 low bits of `value` as they are. */
void wz_encode_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n);

/* Write the fewest bytes that decode to what was encoded; encoder->position is then the size of the payload. */
void wz_finish_coder(wz_encoder_t *encoder);

#endif
