/* Scheme `predictive` (SPEC 4): closed-loop prediction, exact quantisation without a division, range coding with conditional tables.
 * A packet stands alone: wz_predictive_begin forgets the one before. */
#ifndef WZ_PREDICTOR_H
#define WZ_PREDICTOR_H

#include "wz.h"

void wz_predictive_begin(wz_encoder_t *encoder);
void wz_predictive_samples(wz_encoder_t *encoder, const int16_t *samples, uint32_t count);
void wz_predictive_absent(wz_encoder_t *encoder);
void wz_predictive_finish(wz_encoder_t *encoder);

#endif
