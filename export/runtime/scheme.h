/* What a scheme is to the rest of the runtime. A scheme that is compiled out leaves nothing behind: only scheme.c names them. */
#ifndef WZ_SCHEME_H
#define WZ_SCHEME_H

#include "wz.h"

/* What the largest packet of a rate point takes. */
typedef struct {
    uint32_t payload_bits;
    uint32_t work_bytes; /* behind the packet: what a scheme keeps of a packet until it ends, 4-byte aligned */
} wz_need_t;

struct wz_scheme {
    uint32_t code;
    /* The scheme's section of a blob whose header holds, up to `end` (where the blob's check begins), to the last byte (SPEC 5.3). */
    wz_status_t (*check)(const void *blob, uint32_t end);
    /* Where in the blob a rate point begins. */
    uint32_t (*point)(const void *blob, uint32_t rate_point);
    wz_need_t (*need)(const void *blob, uint32_t rate_point);
    /* One packet: begin, then samples and gaps in order, then finish: encoder->position is then the size of the payload. */
    void (*begin)(wz_encoder_t *encoder);
    void (*samples)(wz_encoder_t *encoder, const int16_t *samples, uint32_t count);
    void (*absent)(wz_encoder_t *encoder);
    void (*finish)(wz_encoder_t *encoder);
};

extern const wz_scheme_t wz_nested, wz_predictive, wz_trellis, wz_syndrome, wz_layered;

/* NULL if it is not in this build. */
const wz_scheme_t *wz_find_scheme(uint32_t code);

/* The rate point of the packet being filled, as it lies in the blob. */
static inline const void *wz_point(const wz_encoder_t *encoder)
{
    return (const uint8_t *)encoder->model->blob + encoder->point;
}

static inline uint8_t *wz_work(const wz_encoder_t *encoder)
{
    return encoder->payload - encoder->model->front_bytes + encoder->model->work_at;
}

#endif
