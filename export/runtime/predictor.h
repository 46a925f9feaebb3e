/* Between predictor.c and predictive_section.c. */
#ifndef WZ_PREDICTOR_H
#define WZ_PREDICTOR_H

#include "scheme.h"
#include "sections.h"

wz_status_t wz_predictive_check(const void *blob, uint32_t end);
uint32_t wz_predictive_at(const void *blob, uint32_t rate_point);
wz_need_t wz_predictive_need(const void *blob, uint32_t rate_point);

#endif
