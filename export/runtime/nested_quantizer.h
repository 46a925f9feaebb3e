/* What `trellis` shares with `nested`. */
#ifndef WZ_NESTED_QUANTIZER_H
#define WZ_NESTED_QUANTIZER_H

#include "scheme.h"

void wz_filtered_begin(wz_encoder_t *encoder);

/* Level check and fill. */
#if WZ_WITH_LEVEL_CHECK
void wz_filtered_finish(wz_encoder_t *encoder);
#else
#define wz_filtered_finish wz_fill_byte
#endif

/* nested_section.c */
wz_status_t wz_nested_check(const void *blob, uint32_t end);
uint32_t wz_nested_at(const void *blob, uint32_t rate_point);
wz_need_t wz_nested_need(const void *blob, uint32_t rate_point);

#endif
