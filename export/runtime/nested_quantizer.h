/* Nested quantizer (SPEC 3): filter, round, keep the bin, pack it. Also the payloads of `trellis` (SPEC 9), whose index of 2q values takes
 * the place of the bin. One packet: wz_nested_begin, then samples and gaps in order, then wz_nested_finish. */
#ifndef WZ_NESTED_QUANTIZER_H
#define WZ_NESTED_QUANTIZER_H

#include "wz.h"

void wz_nested_begin(wz_encoder_t *encoder);
void wz_nested_samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count);
void wz_nested_absent(wz_encoder_t *encoder);
void wz_nested_finish(wz_encoder_t *encoder);

/* Append the n <= 16 low bits of `value`. */
void wz_put_bits(wz_encoder_t *encoder, uint32_t value, uint32_t n);

#endif
